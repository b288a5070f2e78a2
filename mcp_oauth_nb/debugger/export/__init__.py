"""What a run is saved as: `formats` has them all."""
