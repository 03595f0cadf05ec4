"""What differs between event loops, behind one interface."""
