"""Loads the files beside this one as vLLM loads prompt embeddings, and compares them with what PyTorch makes of the same values.

    python engine/decoder/vllm/testdata/torch_load.py        # with torch installed
"""

import base64
import io
import math
import pathlib

import torch

# awkward in ../torch_test.go
VALUES = [0, -0.0, 1, -2.5, 1 / 3, 65504, 1e-8, 6.1e-5, 3.140625, -1234.567, 0.1, 255.5]

here = pathlib.Path(__file__).parent
for name, dtype in {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}.items():
    # The steps of vLLM's vllm/renderers/embed_utils.py, safe_load_prompt_embeds.
    text = base64.b64encode((here / f"{name}.pt").read_bytes())
    with torch.sparse.check_sparse_tensor_invariants():
        tensor = torch.load(io.BytesIO(base64.b64decode(text, validate=True)), weights_only=True, map_location=torch.device("cpu"))
        tensor = tensor.to_dense()
    want = torch.tensor(VALUES, dtype=torch.float32).reshape(3, 4).to(dtype)
    assert tensor.dtype == dtype and tensor.shape == (3, 4) and tensor.is_contiguous() and not tensor.requires_grad
    assert torch.equal(tensor.view(torch.uint8), want.view(torch.uint8)), f"{name}: {tensor} is not {want}"
    assert math.copysign(1, tensor[0, 1].item()) == -1
    print(f"{name}.pt: {tuple(tensor.shape)} {tensor.dtype}, every bit as torch {torch.__version__} has it")
