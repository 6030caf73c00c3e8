"""One file per step, each naming the one before; the last one's revision is `tiled_spyde.database.SCHEMA`."""
