"""Against programs that others wrote: what no stand-in of ours can prove."""
