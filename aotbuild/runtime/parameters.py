"""The parameters of a compiled model, offered as those of a module are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Never

from .not_a_module import listed
from .state_dict import IncompatibleKeys, State, StateDictOrPath

if TYPE_CHECKING:
    from .manifest import Manifest
    from .model_state import Layout, ModelState


class Parameters:
    """The weights of a compiled model, which its methods share."""

    _state: State

    def __dir__(self) -> list[str]:
        return listed(self)

    def state_dict(self) -> dict[str, Any]:
        """The parameters and persistent buffers by the names of the module, on the CPU.

        They are tensors of torch; of a stand-alone model, arrays of numpy where torch has not been
        imported. What nothing compiled uses is not there. Changing them does not change the model.

        Raises:
            StateDictError: The code for a CPU or device has only what was computed from one, or
                numpy or a dtype of it is not installed.
        """
        return self._state.read()

    def load_state_dict(self, state_dict: StateDictOrPath, strict: bool = True) -> IncompatibleKeys:  # noqa: FBT001, FBT002
        """Replace parameters and buffers, for all threads, methods and devices at once.

        Calls that run end with the old values; those after it use the new ones.

        Args:
            state_dict: Tensors, arrays or buffers by the names of the module, or the path of a
                safetensors file or of one that ``torch.save`` wrote. They are copied.
            strict: Whether names that are missing or unexpected are an error.

        Returns:
            The names that are missing and those that are unexpected.

        Raises:
            StateDictError: A name, shape or dtype is not the module's, or the file cannot be read.
                Nothing is replaced then.
        """
        return self._state.load(state_dict, strict=strict)

    def merge(self, delta: StateDictOrPath, scale: float = 1.0) -> None:
        """Add ``scale`` times a difference to parameters, such as a low-rank adapter.

        Args:
            delta: By the names of parameters a tensor or array of the same shape, or a pair
                ``(B, A)`` whose product has that shape; or an adapter whose names end in
                ``.lora_A.weight`` and ``.lora_B.weight``; or the path of such a file.
            scale: What the differences are multiplied by, such as ``alpha / rank``.

        Raises:
            StateDictError: A name or shape is not the module's, or a difference has no real
                numbers. Nothing is changed then.
            TypeError: ``scale`` is no real number.
            ValueError: ``scale`` is infinite or NaN.
        """
        self._state.merge(delta, scale)

    def new_state(self, *unnamed: Never, **sizes: int) -> ModelState:
        """What the model keeps between calls, as it is at first; pass it to calls as ``state``.

        Args:
            unnamed: Sizes without their names, which are refused.
            sizes: The sizes of the dimensions that its buffers have, such as ``batch=8``.

        Raises:
            TypeError: The model keeps nothing, or a size is missing, unknown or no integer.
            ValueError: A size is out of the range of its dimension.
        """
        layout = self._state_layout()
        from .model_state import ModelState  # which packages without a state do not have

        return ModelState(layout, layout.sizes(sizes, unnamed))

    def _with_buffers(self) -> Manifest | None:
        """The manifest of the model, or of a method of it, that has a state; None without one."""
        raise NotImplementedError

    def _state_layout(self) -> Layout:
        """What the states of the model have in common."""
        manifest = self._with_buffers()
        if manifest is None:
            name = self._names()[0]
            raise TypeError(f"{name} keeps nothing between calls, and has no state")
        found: Layout | None = self._state.layout
        if found is None:
            from .model_state import Layout

            found = self._state.layout = Layout(manifest, self._state.file(), lambda: self)
        return found

    def _names(self) -> tuple[str, str]:
        """How messages name the model, and what of it can be called."""
        raise NotImplementedError

    def prefetch(self) -> None:
        """Read all weights from the disk now, rather than when they are used.

        ``AOTBUILD_PREFETCH=1`` does it when the model is loaded.
        """
        self._state.prefetch()
