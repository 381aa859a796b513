"""One training step of a host on random crops, its extra networks included."""

import torch

from loops.ssl.step import Once, Plan, Step
from salearn.cases import IGNORE
from salearn.models.ema import Ema
from salearn.models.vnet import VNet, VNetSettings

CLASSES = 4
SIDE = 8


class Watch(Once):
    """Counts how many samples reach the student in each pass."""

    def __init__(self, net):
        super().__init__(net)
        self.batches = []

    def trace(self, image):
        if not any(known is image for known, _ in self._seen):
            self.batches.append(len(image))
        return super().trace(image)


def make_step(host, progress=0.9, labeled=1, unlabeled=2, seed=0, draw=0, ignored=False):
    """A step whose weights and crops follow `seed`, and the host's draws `draw`."""
    torch.manual_seed(seed)
    shape = VNetSettings(width=4, depth=2)
    net = VNet(1, CLASSES, shape).train()
    with torch.no_grad():
        net.head.weight *= 6  # answers that are sometimes certain
    teacher = Ema(net, 0.9)
    with torch.no_grad():
        for value in teacher.module.parameters():  # a teacher that disagrees
            value += 0.1 * torch.randn_like(value)
    mask = torch.randint(CLASSES, (labeled, SIDE, SIDE, SIDE))
    weak = torch.randn(unlabeled, 1, SIDE, SIDE, SIDE) if unlabeled else None
    image = torch.randn(labeled, 1, SIDE, SIDE, SIDE)
    strong = None if weak is None else weak + 0.2 * torch.randn_like(weak)
    plan = Plan(channels=1, num_classes=CLASSES, net=shape, patch=(SIDE, SIDE, SIDE))
    parts = {name: part.net.train() for name, part in host.parts(plan).items()}
    generator = torch.Generator().manual_seed(draw)
    return Step(
        student=Watch(net),
        teacher=teacher,
        parts=parts,
        image=image,
        mask=torch.full_like(mask, IGNORE) if ignored else mask,
        weak=weak,
        strong=strong,
        restyle=lambda x: x + 0.2 * torch.randn(x.shape, generator=generator),
        progress=progress,
        generator=generator,
    )


def groups(step):
    """Parameters of the student's thirds and of each extra network, by name."""
    net = step.student.net
    found = {
        "encoder": [net.encoder, net.down, net.bottleneck],
        "decoder": [net.up, net.decoder],
        "head": [net.head],
        **{name: [part] for name, part in step.parts.items()},
    }
    return {name: [p for m in modules for p in m.parameters()] for name, modules in found.items()}


def reached(step, term):
    """Names of the groups that the gradient of a term reaches."""
    names = groups(step)
    parameters = [p for group in names.values() for p in group]
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    by_id = {id(p): g for p, g in zip(parameters, gradients, strict=True)}
    return {
        name
        for name, group in names.items()
        if sum(float(by_id[id(p)].abs().sum()) for p in group if by_id[id(p)] is not None) > 0
    }
