"""Assembly text of AArch64 -> its hot loops and what they are made of. Nothing here runs or compiles anything."""
