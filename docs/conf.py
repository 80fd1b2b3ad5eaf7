"""How Sphinx builds the documentation: `nox -s docs`."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "rstmdb"
author = "The rstmdb authors"
project_copyright = "The rstmdb authors, Apache-2.0"
release = version = version_of("rstmdb-server")

extensions = ["myst_parser", "sphinx.ext.autodoc", "from_code"]
exclude_patterns = ["_ext", "images/*.py"]
suppress_warnings = ["ref.python"]  # fields named `bytes` are more than one target for the type

nitpicky = True
# Annotations name types of other projects, and of our own private modules. Without the network
# there is no inventory to look the former up in, and the latter are not published on purpose.
nitpick_ignore_regex = [(r"py:.*", r".*")]

myst_heading_anchors = 4

smartquotes = False  # what looks like code should be fit for copying
default_role = "literal"  # docstrings are plain text with `names` in backquotes
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries = False

html_theme = "furo"
html_title = f"rstmdb {release}"
html_static_path = ["_static"]
html_css_files = ["rstmdb.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#1f5f8b",
        "color-brand-content": "#1f5f8b",
        "font-stack": "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif",
        "font-stack--monospace": "ui-monospace, 'DejaVu Sans Mono', 'Liberation Mono', monospace",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7ab8e0",
        "color-brand-content": "#7ab8e0",
    },
}
pygments_style = "friendly"
pygments_dark_style = "native"
