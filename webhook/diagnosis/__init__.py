"""What doctor thinks: each module takes what was read of a cluster and gives findings. Nothing here reads anything."""
