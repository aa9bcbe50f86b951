"""What stock SAM 2.1 computes anew for every object though it is the same for all: computed once, with the same bits.

    of a frame   the first layer's self-attention in the memory attention, what that layer asks the object's memories
                 with, and the projection of the frame's features in the memory encoder
    of a model   the embedding of no prompt, and the positions of the picture's cells, for its encoder and for its masks

All else in a step depends on the object.
"""

from collections.abc import Callable
from typing import Any


class Once:
    """A function of tensors that is not called again for those that it was called with last.

    They are told by where they lie, and held, so that no others can come to lie there: SAM 2.1 writes into none of
    them, nor into what comes of them.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._places: list[Any] = []
        self._held: tuple[Any, ...] = ()
        self._result: Any = None

    def __call__(self, *given: Any) -> Any:
        """What comes of these tensors."""
        return self.of(given, *given)

    def of(self, key: tuple[Any, ...], *given: Any) -> Any:
        """What comes of arguments that follow from the tensors `key` alone."""
        places = [(each.device, each.dtype, each.data_ptr(), each.shape, each.stride()) for each in key]
        if places != self._places:
            self._places, self._held, self._result = places, key, self._function(*given)
        return self._result

    def forget(self) -> None:
        """Hold nothing."""
        self._places, self._held, self._result = [], (), None


class Shared:
    """While entered, a predictor that runs each object at batch 1 (`stages.sam.session`) computes these once; before
    and after it is the stock one."""

    def __init__(self, predictor: Any) -> None:
        self._stock: list[tuple[Any, str, Any]] = []
        self._own: list[tuple[Any, str, Any]] = []
        self._every: list[Once] = []
        projection = predictor.memory_encoder.pix_feat_proj
        self._replace(projection, "forward", self._once(projection.forward))
        self._share_first_layer(predictor.memory_attention)
        self._share_no_prompt(predictor, predictor.sam_prompt_encoder)
        self._share_positions(predictor.image_encoder.trunk)

    def __enter__(self) -> None:
        for module, name, function in self._own:
            setattr(module, name, function)

    def __exit__(self, *failure: object) -> None:
        for module, name, function in self._stock:
            if function is None:
                delattr(module, name)
            else:
                setattr(module, name, function)

    def forget(self) -> None:
        """Hold no tensors: those that are held lie on the model's device."""
        for once in self._every:
            once.forget()

    def _once(self, function: Callable[..., Any]) -> Once:
        self._every.append(Once(function))
        return self._every[-1]

    def _replace(self, module: Any, name: str, function: Callable[..., Any]) -> None:
        # A method of the class is no attribute of its own: one that is set would hold the module for good, as a cycle.
        self._stock.append((module, name, vars(module).get(name)))
        self._own.append((module, name, function))

    def _share_first_layer(self, attention: Any) -> None:
        """Up to where it reads memories, it depends on the frame alone."""
        layer = attention.layers[0]
        stock, itself = attention.forward, self._once(layer._forward_sa)
        frame: tuple[Any, ...] = ()

        def forward(curr: list[Any], curr_pos: list[Any], **given: Any) -> Any:
            nonlocal frame
            frame = (*curr, *curr_pos)
            return stock(curr=curr, curr_pos=curr_pos, **given)

        self._replace(attention, "forward", forward)
        self._replace(layer, "_forward_sa", lambda tgt, query_pos: itself.of(frame, tgt, query_pos))
        self._replace(layer.norm2, "forward", self._once(layer.norm2.forward))
        query = layer.cross_attn_image.q_proj
        if not layer.pos_enc_at_cross_attn_queries:
            self._replace(query, "forward", self._once(query.forward))

    def _share_no_prompt(self, predictor: Any, encoder: Any) -> None:
        heads, encode = predictor._forward_sam_heads, encoder.forward
        positions, nothing = self._once(encoder.get_dense_pe), self._once(encode)
        weights, prompted = (encoder.no_mask_embed.weight,), True

        def shared_heads(*, point_inputs: Any = None, mask_inputs: Any = None, **given: Any) -> Any:
            nonlocal prompted
            prompted = point_inputs is not None or mask_inputs is not None
            return heads(point_inputs=point_inputs, mask_inputs=mask_inputs, **given)

        def shared_encode(points: Any, boxes: Any, masks: Any) -> Any:
            return encode(points, boxes, masks) if prompted else nothing.of(weights, points, boxes, masks)

        self._replace(predictor, "_forward_sam_heads", shared_heads)
        self._replace(encoder, "forward", shared_encode)
        self._replace(encoder, "get_dense_pe", lambda: positions.of(weights))

    def _share_positions(self, trunk: Any) -> None:
        """Of every picture's patches: all have the model's input size."""
        positions, weights = self._once(trunk._get_pos_embed), (trunk.pos_embed, trunk.pos_embed_window)
        self._replace(trunk, "_get_pos_embed", lambda size: positions.of(weights, size))
