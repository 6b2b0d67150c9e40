import { loadDocument, token } from "/docs/assets/document.js";

const ui = SwaggerUIBundle({
  spec: await loadDocument(),
  dom_id: "#reader",
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  validatorUrl: null,  // It would send the document to another host.
  onComplete: () => {
    if (token()) ui.preauthorizeApiKey("bearer", token());
  },
});
