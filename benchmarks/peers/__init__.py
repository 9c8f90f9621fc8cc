"""What this project is compared with, one file per peer, each set up as its documentation does."""
