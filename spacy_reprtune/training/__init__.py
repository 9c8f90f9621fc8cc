"""What training needs besides components: the optimizer, batchers."""
