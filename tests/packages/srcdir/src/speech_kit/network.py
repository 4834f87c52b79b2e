from .layers import layers


def build():
    return layers()
