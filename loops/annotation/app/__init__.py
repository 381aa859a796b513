"""The MONAI Label app that `salearn export monailabel` writes; main.py needs monailabel."""
