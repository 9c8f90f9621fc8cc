"""What people look at after training. Every number comes from files in `metrics/`."""
