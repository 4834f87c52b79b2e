from .layers import Layers


def build():
    return Layers()
