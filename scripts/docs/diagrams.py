#!/usr/bin/env python3
"""Renders all diagrams of the site in Chromium, by the library that is on the site.

A diagram with a fault is shown as an error on its page, and nothing else notices it.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import build
import pages

BROWSERS = "chromium", "google-chrome", "chromium-browser"
RENDER_SECONDS = 120

PAGE = """<!doctype html><meta charset="utf-8"><script src="{library}"></script>
<p id="result"></p><script>
(async () => {{
  mermaid.initialize({{ startOnLoad: false }});
  const faults = [];
  for (const [place, text] of {diagrams}) {{
    try {{
      const {{ svg }} = await mermaid.render('diagram', text);
      if (!svg.includes('</svg>')) faults.push(`${{place}}: nothing is rendered`);
    }} catch (error) {{
      faults.push(`${{place}}: ${{error.message}}`);
    }}
  }}
  document.querySelector('#result').textContent = JSON.stringify(faults);
}})();
</script>
"""


def main() -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        # In CI nothing may be skipped unnoticed.
        if os.environ.get("CI") == "true":
            sys.exit("diagrams: no Chromium: run scripts/setup.sh browser")
        print("SKIPPED diagrams: no Chromium")
        return
    names = [name for name in pages.summary() if name not in build.GENERATED]
    found = [block for name in names for block in pages.blocks(name, pages.read(name))]
    diagrams = [(block.place, block.text) for block in found if block.language == "mermaid"]
    library = (build.HTML / "site/mermaid.min.js").as_uri()
    with tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as file:
        # A closing tag within a script would end it.
        file.write(
            PAGE.format(library=library, diagrams=json.dumps(diagrams).replace("</", r"<\/"))
        )
        file.flush()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000"]
        done = subprocess.run(
            [browser, *flags, "--dump-dom", f"file://{file.name}"],
            capture_output=True,
            text=True,
            timeout=RENDER_SECONDS,
            check=True,
        )
    result = re.search(r'<p id="result">(.+?)</p>', done.stdout, re.DOTALL)
    if result is None:
        sys.exit(f"the diagrams are not rendered:\n{done.stderr[-2000:]}")
    faults = json.loads(html.unescape(result[1]))
    print(f"{'ok    ' if not faults else 'FAILED'} {len(diagrams)} diagrams")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
