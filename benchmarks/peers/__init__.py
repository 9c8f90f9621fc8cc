"""What this project is compared with, a file a peer, each set up as its own documentation does."""
