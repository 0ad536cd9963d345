"""What layers compute, written so that a schedule rule can make it fast: tensor expressions, one kind a file."""
