"""One file per corpus: how its object names tell split, subject and video, and what must hold over all of it."""
