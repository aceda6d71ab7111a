"""Where frames go: a file, a virtual camera. Nothing here knows of torch."""
