"""Build the documentation with Sphinx: ``make docs``.

The source folder is the root of the repository, so that the README files of its folders are pages without changes, and
every relative link works here as it does where the repository is browsed.
"""

import sys
from pathlib import Path

import mlret

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "mlret"
author = "The mlret authors"
copyright = author
version = release = mlret.__version__

root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "examples/README.md",
    "index/README.md",
    "training/README.md",
    "training/*/README.md",
    "eval/README.md",
    "eval/results/README.md",
    "eval/results/*/README.md",
    "eval/results/*/report.md",
    "eval/results/bench/sentences.md",
    "eval/results/ccp-adaptation/*.md",
    "mlret/memory/README.md",
    "mlret/encoders/bundled/mlret-mini/README.md",
    "scripts/README.md",
    "scripts/bench/peers/README.md",
    "findings/README.md",
    "tests/README.md",
]
exclude_patterns = [".venv", "build", "dist", ".git"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "generated_pages",
    "mathml",
]
html_math_renderer = "mathml"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_mock_imports = [
    "langchain_core",
    "llama_index",
]  # frameworks that mlret.integrations serves, which need not be installed here
autodoc_typehints = "description"
autodoc_typehints_format = "short"
napoleon_google_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88

highlight_language = "none"  # blocks that name no language are plain text

html_theme = "furo"
html_title = f"mlret {release}"
html_show_sphinx = False
html_copy_source = False
templates_path = ["_templates"]
# The pages keep the folders of the repository; the start of the site leads to the start of the documentation.
html_additional_pages = {"index": "start.html"}
copybutton_prompt_text = "$ "
