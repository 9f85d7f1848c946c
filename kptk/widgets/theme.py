"""The looks that all widgets share: JupyterLab's own colours, so that dark themes work too.

Outside JupyterLab, where its variables are missing, the fallbacks hold: dark text on white.
"""

from __future__ import annotations

# Okabe and Ito's palette, told apart under every common colour-vision deficiency.
PALETTE = {
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#999999",
}

# Put on the outermost element of a widget; everything below uses the --kptk-* variables.
ROOT_CLASS = "kptk"

CSS = """
.kptk {
  --kptk-bg: var(--jp-layout-color1, #fff);
  --kptk-bg-soft: var(--jp-layout-color2, #f3f3f3);
  --kptk-line: var(--jp-border-color2, #dcdcdc);
  --kptk-text: var(--jp-ui-font-color1, rgba(0, 0, 0, .87));
  --kptk-text-soft: var(--jp-ui-font-color2, rgba(0, 0, 0, .6));
  --kptk-accent: var(--jp-brand-color1, #1976d2);
  --kptk-good: #009E73;
  --kptk-bad: #D55E00;
  --kptk-font: var(--jp-ui-font-family, system-ui, sans-serif);
  --kptk-code: var(--jp-code-font-family, ui-monospace, monospace);
  color: var(--kptk-text);
  font-family: var(--kptk-font);
  font-size: var(--jp-ui-font-size1, 13px);
}
.kptk :focus-visible { outline: 2px solid var(--kptk-accent); outline-offset: 1px; }
.kptk .kptk-note, .kptk.kptk-note { color: var(--kptk-text-soft); }
.kptk .kptk-title { font-weight: 600; }
.kptk .kptk-card {
  background: var(--kptk-bg-soft);
  border: 1px solid var(--kptk-line);
  border-radius: 4px;
  padding: 6px 8px;
}
"""
