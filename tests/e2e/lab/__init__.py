"""Two private hosts on one machine, each with a stock libvirtd and a zonepoold, and a guest to move between them."""
