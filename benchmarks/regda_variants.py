"""Variants of RegDA that were tried: which of them adapt better?

    python benchmarks/regda_variants.py --seeds 0 1 2 --jobs 2
    python benchmarks/regda_variants.py configs/benchmark/hands_simcc.py \\
        --methods regda own_place_kept joint_ground_false

They are trained in the frame of tools/benchmark.py, whose arguments these are, and
which writes the table. By default all are, beside source only and RegDA. What proved
worth its place is an option of RegDA (source_statistics) or a method of its own,
MeanTeacherRegDA, beside which MeanTeacher does without RegDA's adversary. Each value
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

from mmregda.codecs import relative_probability
from mmregda.codecs.position_space import Maps, Output
from mmregda.models.adaptations import RegDA
from mmregda.models.adaptations.averaged_teacher import AveragedTeacher, student
from mmregda.models.adaptations.base import frozen, minimize
from mmregda.models.batch_norm import counted

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = dict(
    # The average of psi and f gives the target's pseudo labels.
    averaged_teacher=dict(momentum=0.01),
    # Pseudo labels weigh by the probability around them, of mean 1.
    confidence_weights=dict(weighted=True),
    # Ground false maps of what f predicts instead of its maxima.
    soft_ground_false=dict(soft=True),
    # Each other keypoint weighs the same, wherever it is. For SimCC that is the ground
    # false distribution over positions, not one for each axis: see joint_ground_false.
    joint_ground_false=dict(joint=True),
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
        joint: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(head=head, **kwargs)
        self.momentum = momentum
        self.weighted = weighted
        self.soft = soft
        self.joint = joint

    def attach(self, model: nn.Module) -> None:
        self.teacher = None
        if self.momentum is not None:
            self.teacher = AveragedTeacher(student(model), self.momentum)

    def step(
        self,
        model: nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        target, f_adv, maps = batches['target'], self.adversary, self.space.maps
        source_losses = self.learn_source(model, batches['source'], optim_wrapper)
        with model.autocast(optim_wrapper):
            with counted(2, *model.features):
                feats = model.extract_feat(target['inputs'])
            detached_feats = tuple(feat.detach() for feat in feats)
            with torch.no_grad(), counted(2, model.head):
                p = model.head(detached_feats)
            pseudo_labels = self.space.pseudo_labels(self.labeling(model, target, p))
            trade_off = self.trade_off * self.space.loss_unit(p)
            loss = self.adversary_loss(maps(f_adv(detached_feats)), pseudo_labels)
        minimize(trade_off * loss, optim_wrapper, ('adversary',))
        with model.autocast(optim_wrapper), frozen(f_adv):
            loss_psi = self.feature_extractor_loss(
                maps(f_adv(self.warm_start(feats))), pseudo_labels
            )
        minimize(trade_off * loss_psi, optim_wrapper, ('feature_extractor',))
        self.warm_start.step()
        return source_losses

    @torch.no_grad()
    def labeling(self, model: nn.Module, target: dict, p: Output) -> Output:
        """What the target is labelled by, where f predicts p."""
        if self.teacher is not None:
            self.teacher.update(student(model))
            p = self.teacher(target['inputs'])
        self.weights = None
        if self.weighted:
            weights = self.space.confidence(p)
            self.weights = weights / weights.mean().clamp(min=1e-6)
        self.soft_labels = [relative_probability(maps) for maps in self.space.maps(p)]
        return p

    def adversary_loss(self, maps: Maps, pseudo_labels: Maps) -> Tensor:
        labels = self.soft_labels if self.soft else pseudo_labels
        if self.joint:
            false = joint_ground_false(labels)
            return self.ground_truth_loss(maps, false, self.weights)
        return self.ground_false_loss(maps, labels, self.weights)

    def feature_extractor_loss(self, maps: Maps, pseudo_labels: Maps) -> Tensor:
        return self.ground_truth_loss(maps, pseudo_labels, self.weights)


def joint_ground_false(pseudo_labels: Maps) -> Maps:
    """Along each axis, a P_F over positions: the mean of the other keypoints' P_T.

    SimCC's p' is a product of two distributions. KL(P_F || p'_x p'_y) is the sum of the
    KL of the marginals of P_F and its mutual information, which p' does not change. So
    f' that has learned it still puts a share of p' at "ghosts", x of one keypoint and y
    of another.
    """
    labels = [maps / maps.sum(dim=-1, keepdim=True) for maps in pseudo_labels]
    return [maps.sum(dim=1, keepdim=True) - maps for maps in labels]


def write_fragments(folder: Path) -> Dict[str, str]:
    """A fragment of config for each row: its path by its name."""
    rows = {
        name: dict(type='RegDAVariant', **settings)
        for name, settings in VARIANTS.items()
    }
    rows['target_statistics'] = dict(type='RegDA', source_statistics=False)
    # Beside a keypoint's own place: left out by default for SimCC, not for heatmaps.
    rows['own_place_left_out'] = dict(type='RegDA', leave_out_own=True)
    rows['own_place_kept'] = dict(type='RegDA', leave_out_own=False)
    regda = ROOT / 'configs/_base_/adaptations/regda.py'
    folder.mkdir(parents=True, exist_ok=True)
    for name, adaptation in rows.items():
        (folder / f'{name}.py').write_text(
            f'_base_ = [{str(regda)!r}]\n'
            "custom_imports = dict(imports=['regda_variants'])\n"
            f'adaptation = {adaptation!r}\n'
        )
    return {name: str(folder / f'{name}.py') for name in rows}


def main() -> None:
    if {'-h', '--help'} & set(sys.argv[1:]):
        print(__doc__)
    work_dir = ROOT / 'work_dirs/regda_variants'
    fragments = write_fragments(work_dir / 'fragments')
    tool = [sys.executable, str(ROOT / 'tools/benchmark.py'), '--no-figures']
    given = [fragments.get(argument, argument) for argument in sys.argv[1:]]
    if '--methods' not in given:
        given += ['--methods', 'source_only', 'regda', *fragments.values()]
        given += ['mean_teacher_regda', 'mean_teacher']
    # Trainings import this file, which is beside no package.
    path = os.pathsep.join(
        filter(None, [str(ROOT / 'benchmarks'), os.environ.get('PYTHONPATH')])
    )
    environment = {**os.environ, 'PYTHONPATH': path}
    command = [*tool, '--work-dir', str(work_dir), *given]
    sys.exit(subprocess.run(command, env=environment).returncode)


if __name__ == '__main__':
    main()
