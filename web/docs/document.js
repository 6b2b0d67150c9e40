// Loads the API's document, asking for credentials where the server wants them.

const kTokenKey = "subforge.token";  // The one of /app.

export const token = () => sessionStorage.getItem(kTokenKey);

function askForToken(why) {
  const form = document.getElementById("sign-in");
  document.getElementById("why").textContent = why;
  form.hidden = false;
  document.getElementById("token").focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(kTokenKey, document.getElementById("token").value.trim());
      document.getElementById("token").value = "";
      form.hidden = true;
      resolve();
    }, { once: true });
  });
}

export async function loadDocument() {
  for (;;) {
    const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
    const answer = await fetch("/openapi.json", { headers });
    if (answer.ok) {
      document.getElementById("message").hidden = true;
      return answer.json();
    }
    if (answer.status !== 401 && answer.status !== 403) {
      document.getElementById("message").textContent = `The server answered ${answer.status}.`;
      throw new Error(`/openapi.json: ${answer.status}`);
    }
    const { detail } = await answer.json();
    await askForToken(token() ? `The server says: ${detail}.`
                              : "This server asks for credentials.");
  }
}
