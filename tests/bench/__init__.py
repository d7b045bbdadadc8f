"""How fast it is: each figure beside a bare Go webhook, or beside what the network alone would take, in one run."""
