"""What is measured of Jacobians: many small blocks, and a dense one from a few directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import Program, normal
from .rows import Row

BARS = Row.bars | {("chainrule", "NumPy"): 10.0, ("chainrule.jit", "NumPy"): 10.0}


# -- a camera for each observation -------------------------------------------------------------------------------------
# Eleven numbers of a camera (rotation, centre, focal length, middle of the picture, distortion), three of a point and a
# weight: two residuals for each observation.  Written for the last axis, so for one observation or for all of them.


def turned(lib: Any, rotation: Any, v: Any) -> Any:
    """Turn `v` about an axis, by its length (Rodrigues)."""
    xp = lib.xp
    angle = xp.sqrt(xp.sum(rotation * rotation, -1))[..., None]
    axis = rotation / angle
    along = xp.sum(axis * v, -1)[..., None] * (1 - xp.cos(angle))
    return v * xp.cos(angle) + lib.cross(axis, v) * xp.sin(angle) + axis * along


def misfit(lib: Any, camera: Any, point: Any, weight: Any, seen: Any) -> Any:
    v = turned(lib, camera[..., :3], point - camera[..., 3:6])
    p = v[..., :2] / v[..., 2:]
    square = lib.xp.sum(p * p, -1)[..., None]
    p = p * (1 + camera[..., 9:10] * square + camera[..., 10:] * square * square)
    return weight[..., None] * (camera[..., 6:7] * p + camera[..., 7:9] - seen)


def blocks(lib: Any, cameras: Any, points: Any, weights: Any, seen: Any) -> Any:
    """For each observation its derivatives in camera, point and weight."""

    def one(camera: Any, point: Any, weight: Any, seen: Any) -> Any:
        return misfit(lib, camera, point, weight, seen)

    return lib.vmap(lib.jacobian(one, argnums=(0, 1, 2)))(cameras, points, weights, seen)


def blocks_by_hand(cameras: Any, points: Any, weights: Any, seen: Any) -> Any:
    """The chain rule on paper, one vector of all observations for each number: the fastest NumPy that we know."""
    r, (f, *middle), k = cameras.T[:3].copy(), cameras.T[6:9], cameras.T[9:].copy()
    v, w = (points - cameras[:, 3:6]).T.copy(), weights
    square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2]
    angle = np.sqrt(square)
    c, a = np.cos(angle), np.sin(angle) / angle
    b = (1 - c) / square
    da, db = (c - a) / square, (a - 2 * b) / square  # the derivatives of a and b in the angle, over the angle
    rv = r[0] * v[0] + r[1] * v[1] + r[2] * v[2]
    cross = [r[1] * v[2] - r[2] * v[1], r[2] * v[0] - r[0] * v[2], r[0] * v[1] - r[1] * v[0]]
    brv = b * rv
    x = [c * v[i] + a * cross[i] + r[i] * brv for i in range(3)]
    along = [-a * v[i] + da * cross[i] + db * rv * r[i] for i in range(3)]
    av, ar, br = a * v, a * r, b * r
    # x in the rotation, and x in the point
    turn = [[along[i] * r[j] + br[i] * v[j] + (brv if i == j else 0) for j in range(3)] for i in range(3)]
    move = [[br[i] * r[j] + (c if i == j else 0) for j in range(3)] for i in range(3)]
    for i, j, l in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):  # cross products: e_ijl is 1
        turn[i][j] += av[l]
        turn[j][i] -= av[l]
        move[i][l] += ar[j]
        move[l][i] -= ar[j]
    inverse = 1 / x[2]
    p = x[0] * inverse, x[1] * inverse
    s = p[0] * p[0] + p[1] * p[1]
    k1s, k2s = k[0] * s, k[1] * s
    factor = 1 + k1s + k2s * s
    slope = 2 * (k[0] + 2 * k2s)
    wf = w * f
    in_camera, in_point = np.empty((len(w), 2, 11)), np.empty((len(w), 2, 3))
    in_weight = np.empty((len(w), 2))
    wf_inverse = wf * inverse
    for i in range(2):
        by_p = [slope * p[i] * p[j] for j in range(2)]
        by_p[i] += factor
        by_x = [wf_inverse * by_p[0], wf_inverse * by_p[1]]
        by_x.append(-(by_x[0] * p[0] + by_x[1] * p[1]))
        for j in range(3):
            in_camera[:, i, j] = by_x[0] * turn[0][j] + by_x[1] * turn[1][j] + by_x[2] * turn[2][j]
            in_point[:, i, j] = by_x[0] * move[0][j] + by_x[1] * move[1][j] + by_x[2] * move[2][j]
        bent = p[i] * factor
        in_camera[:, i, 6] = w * bent
        in_camera[:, i, 7 + i], in_camera[:, i, 8 - i] = w, 0
        wfps = wf * p[i] * s
        in_camera[:, i, 9], in_camera[:, i, 10] = wfps, wfps * s
        in_weight[:, i] = f * bent + middle[i] - seen[:, i]
    np.negative(in_point, out=in_camera[:, :, 3:6])
    return in_camera, in_point, in_weight


def observations(n: int) -> list[np.ndarray]:
    rotation, shift, point, middle, seen = normal("float64", (n, 3), (n, 3), (n, 3), (n, 2), (n, 2))
    weight = 0.5 + np.random.default_rng(1).random(n)
    camera = [0.3 + 0.1 * rotation, shift - [0, 0, 8], 500 + shift[:, :1], middle, 0.01 * middle]
    return [np.concatenate(camera, 1), point, weight, seen]


def cameras(n: int = 30_000) -> Program:
    title = f"Jacobians of {n:,} observations, 2×15 each"
    row = Program("cameras", title, "float64", observations(n), blocks, blocks_by_hand, whole=True)
    row.bars = BARS
    return row


# -- a hand ------------------------------------------------------------------------------------------------------------
# 26 numbers: where it is, how it is turned, and four angles for each of five fingers of three bones.  500 points on its
# skin follow several bones each; their pictures are compared with what was seen.
FINGERS, BONES = 5, 3


def pose(lib: Any, angles: Any, rests: Any) -> Any:
    """The (16, 3, 4) matrices that move what belongs to the palm and to each bone: turned, then shifted."""
    xp = lib.xp
    c, s = xp.cos(angles), xp.sin(angles)
    zero, one = xp.zeros_like(c[:, 0]), xp.ones_like(c[:, 0])
    spread = [[c[:, 0], -s[:, 0], zero], [s[:, 0], c[:, 0], zero], [zero, zero, one]]
    rotation = lib.stack([lib.stack(row, -1) for row in spread], -2)
    start = rests[:, 0]
    matrices = []
    for bone in range(BONES):
        cb, sb = c[:, bone + 1], s[:, bone + 1]
        bend = [[one, zero, zero], [zero, cb, -sb], [zero, sb, cb]]
        rotation = rotation @ lib.stack([lib.stack(row, -1) for row in bend], -2)
        matrices.append(
            lib.concatenate([rotation, (start - (rotation @ rests[:, bone, :, None])[..., 0])[..., None]], -1)
        )
        if bone + 1 < BONES:
            start = start + (rotation @ (rests[:, bone + 1] - rests[:, bone])[..., None])[..., 0]
    return lib.stack(matrices, 1)


def hand_misfit(lib: Any, theta: Any, rests: Any, weights: Any, skin: Any, seen: Any) -> Any:
    xp = lib.xp
    moves = pose(lib, xp.reshape(theta[6:], (FINGERS, 4)), rests)
    fingers = xp.reshape(moves, (FINGERS * BONES, 12))
    moved = xp.reshape(weights[:, 1:] @ fingers, (len(skin), 3, 4))
    v = (moved[:, :, :3] @ skin[:, :, None])[:, :, 0] + moved[:, :, 3] + weights[:, :1] * skin
    v = turned(lib, theta[:3], v) + theta[3:6]
    return xp.reshape(v[:, :2] / v[:, 2:] - seen, (-1,))


def columns(lib: Any, theta: Any, rests: Any, weights: Any, skin: Any, seen: Any) -> Any:
    return lib.columns(lambda theta: hand_misfit(lib, theta, rests, weights, skin, seen))(theta)


def columns_by_hand(theta: Any, rests: Any, weights: Any, skin: Any, seen: Any) -> Any:
    """Each angle turns the bones that come after it about an axis through a joint; what follows is the camera's."""
    n = len(skin)
    angles = theta[6:].reshape(FINGERS, 4)
    c, s = np.cos(angles), np.sin(angles)
    rotation = np.zeros((FINGERS, 3, 3))
    rotation[:, 0, 0], rotation[:, 0, 1] = c[:, 0], -s[:, 0]
    rotation[:, 1, 0], rotation[:, 1, 1], rotation[:, 2, 2] = s[:, 0], c[:, 0], 1
    start = rests[:, 0]
    moves = np.empty((FINGERS, BONES, 3, 4))
    axes, joints = [np.tile([0.0, 0.0, 1.0], (FINGERS, 1))], [start]
    for bone in range(BONES):
        axes.append(rotation[:, :, 0])
        joints.append(start)
        bend = np.zeros((FINGERS, 3, 3))
        cb, sb = c[:, bone + 1], s[:, bone + 1]
        bend[:, 0, 0], bend[:, 1, 1], bend[:, 1, 2], bend[:, 2, 1], bend[:, 2, 2] = 1, cb, -sb, sb, cb
        rotation = rotation @ bend
        moves[:, bone, :, :3] = rotation
        moves[:, bone, :, 3] = start - np.einsum("fij,fj->fi", rotation, rests[:, bone])
        if bone + 1 < BONES:
            start = start + np.einsum("fij,fj->fi", rotation, rests[:, bone + 1] - rests[:, bone])
    # by[f, a]: how the moves of the bones of finger f change with its angle a, (axis × ·) of what is after the joint
    by = np.zeros((FINGERS, 4, BONES, 3, 4))
    for angle in range(4):
        first = max(angle - 1, 0)
        along = np.zeros((FINGERS, 3, 3))
        x, y, z = axes[angle].T
        along[:, 0, 1], along[:, 0, 2], along[:, 1, 2] = -z, y, -x
        along[:, 1, 0], along[:, 2, 0], along[:, 2, 1] = z, -y, x
        after = moves[:, first:].copy()
        after[..., 3] -= joints[angle][:, None]
        by[:, angle, first:] = along[:, None] @ after
    w = weights[:, 1:].reshape(n, FINGERS, BONES)
    homogeneous = np.concatenate([skin, np.ones((n, 1))], 1)
    moved = (weights[:, 1:] @ moves.reshape(-1, 12)).reshape(n, 3, 4)
    v = np.einsum("nij,nj->ni", moved, homogeneous) + weights[:, :1] * skin
    bent = np.empty((3, n, 6 + FINGERS * 4))  # of v: first in the finger's angles, then turned, then the others
    spans = w.transpose(1, 0, 2)[:, :, :, None] * homogeneous[None, :, None, :]  # (finger, point, bone, 4)
    flat = spans.reshape(FINGERS, n, BONES * 4) @ by.transpose(0, 2, 4, 1, 3).reshape(FINGERS, BONES * 4, 12)
    in_angles = flat.reshape(FINGERS, n, 4, 3).transpose(3, 1, 0, 2).reshape(3, n * FINGERS * 4)
    r = theta[:3]
    square = r @ r
    angle = np.sqrt(square)
    cos, a = np.cos(angle), np.sin(angle) / angle
    b = (1 - cos) / square
    da, db = (cos - a) / square, (a - 2 * b) / square
    cross = np.array([[0, -r[2], r[1]], [r[2], 0, -r[0]], [-r[1], r[0], 0]])
    R = cos * np.eye(3) + a * cross + b * np.outer(r, r)
    bent[:, :, 6:] = (R @ in_angles).reshape(3, n, -1)
    rv = v @ r
    along = -a * v + da * (v @ cross.T) + db * rv[:, None] * r
    turn = along.T[:, :, None] * r + (b * r)[:, None, None] * v + (b * rv)[:, None] * np.eye(3)[:, None]
    for i, j, l in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        turn[i, :, j] += a * v[:, l]
        turn[j, :, i] -= a * v[:, l]
    bent[:, :, :3], bent[:, :, 3:6] = turn, np.eye(3)[:, None]
    x, y, z = (v @ R.T + theta[3:6]).T[..., None]
    result = np.empty((n, 2, 6 + FINGERS * 4))
    by_z = bent[2] / z
    np.divide(bent[0], z, out=result[:, 0])
    result[:, 0] -= x / z * by_z
    np.divide(bent[1], z, out=result[:, 1])
    result[:, 1] -= y / z * by_z
    return result.reshape(2 * n, -1)


def hand(n: int = 500) -> Program:
    theta, skin, seen = normal("float64", (26,), (n, 3), (n, 2))
    theta = 0.2 * theta + 0.3
    theta[5] += 8
    rests = np.cumsum(0.3 + 0.1 * np.random.default_rng(2).random((FINGERS, BONES, 3)), 1)
    weights = np.random.default_rng(3).random((n, 1 + FINGERS * BONES)) ** 4
    weights /= weights.sum(1, keepdims=True)
    arguments = theta, rests, weights, skin, seen
    title = f"Jacobian of a hand, {2 * n:,}×26, from directions"
    row = Program("hand", title, "float64", arguments, columns, columns_by_hand, whole=True)
    row.bars = BARS
    return row


JACOBIANS = {"cameras-float64": cameras, "hand-float64": hand}
