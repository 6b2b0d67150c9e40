import { loadDocument } from "/docs/assets/document.js";

const kFonts = 'system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif';

Redoc.init(await loadDocument(), {
  nativeScrollbars: true,
  theme: { typography: { fontFamily: kFonts, headings: { fontFamily: kFonts } } },
}, document.getElementById("reader"));
