"""What Otter refuses before it computes: pictures and prompts that do not fit together, in sentences.

PyTorch would stop at some of them with a message about a matrix, and broadcast others without a word. Only shapes are looked at
where a step of training passes; the numbers (which a GPU has to be waited for) only where a prompt is to be answered.

Letters: B rows, N media of a row, F frames, C H W a frame, T tokens, L latents, V their width, X layers that look, S = N·L,
E keys and values of a layer.
"""

from typing import Any

import torch
from torch import Tensor


def check_pixels(pixels_BNFCHW: Tensor, frame_mask_BNF: Tensor | None, config: Any) -> None:
    """Check the pictures by themselves.

    Args:
        pixels_BNFCHW: The pictures.
        frame_mask_BNF: False for frames that only fill up a batch.
        config: An OtterConfig.

    Raises:
        ValueError: they are none that the vision tower and the Perceiver can take.
    """
    shape = tuple(pixels_BNFCHW.shape)
    if len(shape) != 6:
        raise ValueError(
            f"pixel_values has the shape {shape}; it must be (rows, media, frames, channels, height, width)"
        )
    vision, frames = config.vision_config, config.max_num_frames
    frame = (vision.num_channels, vision.image_size, vision.image_size)
    if shape[3:] != frame:
        raise ValueError(
            f"the pictures are {shape[3:]} (channels, height, width) and the vision tower takes {frame}; prepare them with the "
            "model's processor"
        )
    if not pixels_BNFCHW.is_floating_point():
        raise ValueError(
            f"pixel_values is {pixels_BNFCHW.dtype}, raw pixels; prepare them with the model's processor"
        )
    if 0 in shape:
        raise ValueError(
            f"pixel_values has the shape {shape}, no picture at all; leave it out, or give a blank one"
        )
    if frames and shape[2] > frames:
        raise ValueError(
            f"a medium has {shape[2]} frames and the model knows {frames} (max_num_frames); take fewer frames of the clip"
        )
    if frame_mask_BNF is not None and tuple(frame_mask_BNF.shape) != shape[:3]:
        raise ValueError(
            f"frame_mask has the shape {tuple(frame_mask_BNF.shape)} and the frames {shape[:3]} (rows, media, frames)"
        )


def check_media(
    media_BNLV: Tensor | None, media_kv_BXSE: Tensor | None, *, rows: int, latents: int, looks: int
) -> None:
    """Check that media are of this model and of this batch.

    Args:
        media_BNLV: What the Perceiver made, or None for `media_kv_BXSE`.
        media_kv_BXSE: Keys and values for each layer that looks.
        rows: B of the text.
        latents: L of the model.
        looks: X of the model.

    Raises:
        ValueError: they are not.
    """
    given = media_BNLV if media_kv_BXSE is None else media_kv_BXSE
    assert given is not None
    if given.shape[0] != rows:
        raise ValueError(
            f"the batch has {rows} row(s) of text and {given.shape[0]} of pictures; rows without pictures get blank ones"
        )
    if media_kv_BXSE is not None:
        if media_kv_BXSE.shape[1] != looks or media_kv_BXSE.shape[2] % latents:
            raise ValueError(
                f"media_kv has the shape {tuple(media_kv_BXSE.shape)}; it must be (rows, {looks} layers, media · {latents} "
                "latents, width), as keys_values() of this model makes it"
            )
    elif given.ndim != 4 or given.shape[2] != latents:
        raise ValueError(
            f"media has the shape {tuple(given.shape)}; it must be (rows, media, {latents} latents, width), as see() of this "
            "model makes it"
        )


def check_prompts(
    shown_BT: Tensor, media: int | None, pixels_BNFCHW: Tensor | None, *, legacy: bool
) -> None:
    """Check that prompts show as many media as there are.

    A batch is filled up with media that no row shows; blank ones (zeros) may be more than any row shows.

    Args:
        shown_BT: True at `<image>`.
        media: N, or None where there are no media.
        pixels_BNFCHW: The media's pixels, if they are known.
        legacy: Surplus `<image>` are let through, as in the published code.

    Raises:
        ValueError: a picture would go unseen, or an `<image>` is without a picture.
    """
    most = int(shown_BT.sum(dim=1).max())
    if most > (media or 0) and not legacy:
        raise ValueError(
            f"<image> stands {most} times in a prompt that has {media or 0} picture(s); give one picture or clip for each <image>"
        )
    if pixels_BNFCHW is not None and most < pixels_BNFCHW.shape[1]:
        unseen = pixels_BNFCHW[:, most:]
        if bool(torch.any(unseen != 0)):
            raise ValueError(
                f"a prompt has {pixels_BNFCHW.shape[1]} picture(s), and <image> stands in it {most} times; write <image> where each "
                "picture is shown"
            )
