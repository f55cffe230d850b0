def check_storyboard(beats, images): return tuple(images)
