// Requests to the server that serves this page.

export const SERVER_IS_GONE = "The server does not answer; start eoren view again.";

// The token that allows to fit, write and edit. It comes with the address that the terminal prints, and leaves it, so that
// copied links only show; a reload in this tab keeps it.
const given = new URLSearchParams(location.search).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname + location.hash);
}
export const token = sessionStorage.getItem("token");

// Return a response with a status of success; throw an Error whose message is fit for the user.
export async function request(path, options = {}) {
  const response = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Error(SERVER_IS_GONE);
  });
  if ([400, 403, 413].includes(response.status)) throw new Error(await response.text());
  if (!response.ok) throw new Error(`The server answers with status ${response.status}: ${await response.text()}`);
  return response;
}

// Send a request that changes something.
export async function send(path, parameters = {}, body = undefined) {
  const query = new URLSearchParams(parameters);
  return request(`${path}?${query}`, { method: "POST", body, headers: token ? { Authorization: `Bearer ${token}` } : {} });
}

export const requestJson = async (path, options) => (await request(path, options)).json();
