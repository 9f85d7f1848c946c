"""Detector and keypoint model, joined: what `create_pipeline` makes and how it is configured."""

import lazy_loader  # type: ignore[import-untyped]

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"pipeline": ["Pipeline", "create_model", "create_pipeline"]}
)
