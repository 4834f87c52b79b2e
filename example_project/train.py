"""Train all models and write `weights/` and `reference/`.

Deterministic: on one machine with one torch, each run writes the same bytes. `reference/` holds
what the eager models answer on the held-out digits, for `predict.py` to compare with.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

# The sources beside this file are trained, not those of a wheel that happens to be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from digits.data import HELD_OUT_NOISE_SEED, Digits, add_noise, load
from digits.denoiser import Denoiser
from digits.network import Net
from digits.reader import Reader

PROJECT = Path(__file__).resolve().parent
SEED = 0
BATCH_SIZE = 64
NET_EPOCHS = 30
DENOISER_EPOCHS = 60
READER_EPOCHS = 150
READER_NOISE = 0.15
SHOWN_LINES = (2, 4, 6, 8)  # after which predict.py looks at what the reader says


def main() -> None:
    """Train, report on the held-out digits, and write all files."""
    torch.set_num_threads(1)  # sums are added in one order, however many cores there are
    torch.use_deterministic_algorithms(mode=True)
    training, held_out = load()
    noisy = add_noise(held_out.images, HELD_OUT_NOISE_SEED)
    print(f"digits: {len(training)} to train on, {len(held_out)} held out")

    net = train_net(training)
    with torch.inference_mode():
        logits = net(held_out.images)
    accuracy = (logits.argmax(1) == held_out.labels).float().mean()
    print(f"net: held-out accuracy {accuracy:.2%}")

    denoiser = train_denoiser(training)
    with torch.inference_mode():
        denoised = denoiser(noisy)
    before = functional.mse_loss(noisy, held_out.images)
    after = functional.mse_loss(denoised["image"], held_out.images)
    print(f"denoiser: held-out MSE {before:.4f} with noise, {after:.4f} denoised")

    reader = train_reader(training)
    with torch.inference_mode():
        after_lines = read_lines(reader, held_out.images)
    shown_lines = {count: after_lines[count - 1].clone() for count in SHOWN_LINES}
    for count, scores in shown_lines.items():
        accuracy = (scores.argmax(1) == held_out.labels).float().mean()
        print(f"reader: held-out accuracy {accuracy:.2%} after {count} of 8 lines")

    save_weights("net", net)
    save_weights("denoiser", denoiser)
    save_weights("reader", reader)
    # The labels let predict.py notice that its digits are not the ones held out here.
    save_reference("net", {"logits": logits, "labels": held_out.labels.to(torch.uint8)})
    save_reference("denoiser", denoised)
    save_reference("reader", {str(count): scores for count, scores in shown_lines.items()})


def train_net(training: Digits) -> Net:
    """Train the classifier on the clean digits."""
    torch.manual_seed(SEED)
    net = Net()

    def loss(batch: Digits, _step: int) -> torch.Tensor:
        return functional.cross_entropy(net(batch.images), batch.labels)

    fit(net, loss, training, epochs=NET_EPOCHS)
    return net


def train_denoiser(training: Digits) -> Denoiser:
    """Train the denoiser on digits with fresh noise at each step."""
    torch.manual_seed(SEED)
    denoiser = Denoiser()

    def loss(batch: Digits, step: int) -> torch.Tensor:
        noisy = add_noise(batch.images, seed=step)
        return functional.mse_loss(denoiser(noisy)["image"], batch.images)

    fit(denoiser, loss, training, epochs=DENOISER_EPOCHS)
    return denoiser


def train_reader(training: Digits) -> Reader:
    """Train the reader on digits with a little noise; what it says after each line counts."""
    torch.manual_seed(SEED)
    reader = Reader()

    def loss(batch: Digits, step: int) -> torch.Tensor:
        logits = read_lines(reader, add_noise(batch.images, seed=step, scale=READER_NOISE))
        return functional.cross_entropy(logits.flatten(0, 1), batch.labels.repeat(len(logits)))

    fit(reader, loss, training, epochs=READER_EPOCHS)
    return reader


def read_lines(reader: Reader, images: torch.Tensor) -> torch.Tensor:
    """What the reader says after each line of new digits: logits, [lines, count, 10]."""
    reader.hidden = torch.zeros_like(reader.hidden[:1])
    return torch.stack([reader(line) for line in images.squeeze(1).unbind(1)])


def fit(
    model: nn.Module,
    loss: Callable[[Digits, int], torch.Tensor],
    training: Digits,
    *,
    epochs: int,
) -> None:
    """Minimise `loss(batch, step)` over shuffled batches and leave the model in eval mode."""
    started = time.perf_counter()
    steps = epochs * -(-len(training) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    step = 0
    model.train()
    for _ in range(epochs):
        for indices in torch.split(torch.randperm(len(training)), BATCH_SIZE):
            batch = Digits(training.images[indices], training.labels[indices])
            optimizer.zero_grad()
            loss(batch, step).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            step += 1
    model.eval()
    seconds = time.perf_counter() - started
    print(f"{type(model).__name__}: {epochs} epochs, {steps} steps, {seconds:.0f} s")


def save_weights(name: str, model: nn.Module) -> None:
    """Write the state dict that `pip wheel` compiles into the wheel."""
    path = PROJECT / "weights" / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file(model.state_dict(), path)
    path.chmod(0o644)  # safetensors leaves a file that its owner alone may read
    report(path)


def save_reference(name: str, tensors: dict[str, torch.Tensor]) -> None:
    """Write what the eager model answers on the held-out digits."""
    path = PROJECT / "reference" / f"{name}.pt"
    path.parent.mkdir(exist_ok=True)
    torch.save(tensors, path)
    report(path)


def report(path: Path) -> None:
    """Print the name and size of a file that was written."""
    print(f"{path.relative_to(PROJECT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
