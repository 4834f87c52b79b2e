def same_classes(reference, compiled):
    same = (reference.argmax(-1) == compiled.argmax(-1)).float().mean()
    return same == 1 or f"only {same:.0%} of the classes are those of the eager model"
