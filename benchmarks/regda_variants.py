"""Variants of RegDA that were tried: which of them adapt better?

    python benchmarks/regda_variants.py --seeds 0 1 2 --jobs 2

Each is trained beside source only and RegDA in the frame of tools/benchmark.py,
whose arguments these are, and which writes the table. What proved worth its
place is an option of RegDA (target_statistics) or a method of its own,
MeanTeacherRegDA, which is also trained without RegDA's adversary. Each value
was set before the first training and none was changed after.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, Optional

import torch
from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.models.adaptations import RegDA, counted, frozen, minimize
from mmregda.models.adaptations.mean_teacher_regda import AveragedTeacher, student
from mmregda.models.pseudo_heatmaps import confidence_of

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = dict(
    # The average of psi and f gives the target's pseudo labels.
    averaged_teacher=dict(momentum=0.01),
    # Pseudo labels weigh by the probability around them, of mean 1.
    confidence_weights=dict(weighted=True),
    # Ground false maps of what f predicts instead of its maxima.
    soft_ground_false=dict(soft=True),
)


@MODELS.register_module()
class RegDAVariant(RegDA):
    """RegDA with one of the changes that :data:`VARIANTS` names."""

    def __init__(
        self,
        head: dict,
        momentum: Optional[float] = None,
        weighted: bool = False,
        soft: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(head=head, **kwargs)
        self.momentum = momentum
        self.weighted = weighted
        self.soft = soft

    def attach(self, model: nn.Module) -> None:
        self.teacher = None
        if self.momentum is not None:
            self.teacher = AveragedTeacher(student(model), self.momentum)

    def step(
        self,
        model: nn.Module,
        source: dict,
        target: dict,
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        psi, f, f_adv = model.extract_feat, model.head, self.adversary
        source_losses = self.learn_source(model, source, optim_wrapper)

        with counted(2, *model.players()['feature_extractor']):
            feats = psi(target['inputs'])
        detached_feats = tuple(feat.detach() for feat in feats)
        with torch.no_grad(), counted(2, f):
            logits = f(detached_feats)
        if self.teacher is not None:
            self.teacher.update(student(model))
            logits = self.teacher(target['inputs'])
        heatmaps = self.pseudo_heatmaps(logits)
        weights = None
        if self.weighted:
            weights = confidence_of(logits, heatmaps)
            weights = weights / weights.mean().clamp(min=1e-6)
        false = heatmaps
        if self.soft:
            p = logits.flatten(2).float().softmax(-1).view_as(logits)
            false = p / p.amax(dim=(-2, -1), keepdim=True)
        loss_adversary = self.ground_false_loss(f_adv(detached_feats), false, weights)
        minimize(self.trade_off * loss_adversary, optim_wrapper, ('adversary',))

        with frozen(f_adv):
            loss_psi = self.ground_truth_loss(
                f_adv(self.warm_start(feats)), heatmaps, weights
            )
        minimize(self.trade_off * loss_psi, optim_wrapper, ('feature_extractor',))
        self.warm_start.step()
        return dict(
            **source_losses,
            loss_adversary=loss_adversary.detach(),
            loss_feature_extractor=loss_psi.detach(),
        )


def write_fragments(folder: Path) -> list:
    """A fragment of config for each row."""
    rows = {
        name: dict(type='RegDAVariant', **settings)
        for name, settings in VARIANTS.items()
    }
    rows['target_statistics'] = dict(type='RegDA', source_statistics=False)
    rows['mean_teacher_without_adversary'] = dict(type='MeanTeacherRegDA', trade_off=0)
    regda = ROOT / 'configs/_base_/adaptations/regda.py'
    folder.mkdir(parents=True, exist_ok=True)
    for name, adaptation in rows.items():
        (folder / f'{name}.py').write_text(
            f'_base_ = [{str(regda)!r}]\n'
            "custom_imports = dict(imports=['regda_variants'])\n"
            f'adaptation = {adaptation!r}\n'
        )
    return [str(folder / f'{name}.py') for name in rows]


def main() -> None:
    if {'-h', '--help'} & set(sys.argv[1:]):
        print(__doc__)
    work_dir = ROOT / 'work_dirs/regda_variants'
    fragments = write_fragments(work_dir / 'fragments')
    tool = [sys.executable, str(ROOT / 'tools/benchmark.py'), '--no-figures']
    methods = ['source_only', 'regda', *fragments, 'mean_teacher_regda']
    given = [*sys.argv[1:], '--methods', *methods]
    # Trainings import this file, which is beside no package.
    path = os.pathsep.join(
        filter(None, [str(ROOT / 'benchmarks'), os.environ.get('PYTHONPATH')])
    )
    environment = {**os.environ, 'PYTHONPATH': path}
    command = [*tool, '--work-dir', str(work_dir), *given]
    sys.exit(subprocess.run(command, env=environment).returncode)


if __name__ == '__main__':
    main()
