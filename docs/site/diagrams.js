// Renders the diagrams of a page. The library is a file of this site, and is loaded only where
// there is a diagram.
(() => {
  const diagrams = document.querySelectorAll('pre.mermaid');
  if (diagrams.length === 0) return;
  const library = document.createElement('script');
  library.src = `${path_to_root}site/mermaid.min.js`;
  library.onload = () => {
    const dark = ['navy', 'coal', 'ayu'].some((theme) =>
      document.documentElement.classList.contains(theme));
    mermaid.initialize({ startOnLoad: false, theme: dark ? 'dark' : 'default' });
    mermaid.run({ nodes: diagrams });
  };
  document.head.append(library);
})();
