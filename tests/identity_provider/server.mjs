// A certified OpenID provider library (oidc-provider) as a local server for tests.
//
// Arguments: port, client id, client secret, redirect URIs (joined by commas). PUT /control sets who is signed in at the
// provider and with which claims; no person is asked anything. PUT /sign-out answers with the form that a back-channel
// logout of a subject sends. It prints "ready" when it listens.
import { createServer } from "node:http";

import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const [port, clientId, clientSecret, redirectUris] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const { privateKey } = await generateKeyPair("RS256", { extractable: true });
const key = { ...(await exportJWK(privateKey)), alg: "RS256", use: "sig", kid: "tests" };
let person = { sub: "nobody" };
let caught = "";

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: clientId,
      client_secret: clientSecret,
      redirect_uris: redirectUris.split(","),
      grant_types: ["authorization_code"],
      response_types: ["code"],
      token_endpoint_auth_method: "client_secret_basic",
      backchannel_logout_uri: `${issuer}/caught`,
    },
  ],
  jwks: { keys: [key] },
  cookies: { keys: ["known to everybody, for tests only"] },
  pkce: { required: () => true, methods: ["S256"] },
  claims: {
    openid: ["sub"],
    profile: ["preferred_username", "given_name", "family_name"],
    email: ["email", "email_verified"],
    groups: ["groups", "_claim_names"],
  },
  scopes: ["openid", "profile", "email", "groups"],
  // Claims in the ID token only on request; the UserInfo endpoint has them.
  conformIdTokenClaims: false,
  features: { devInteractions: { enabled: false }, backchannelLogout: { enabled: true } },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_ctx, sub) => ({ accountId: sub, claims: () => ({ ...person, sub }) }),
  ttl: { AccessToken: 60, AuthorizationCode: 60, IdToken: 60, Interaction: 60, Session: 60, Grant: 60 },
});

const handle = provider.callback();

async function body(request) {
  let text = "";
  for await (const part of request) text += part;
  return text;
}

const server = createServer(async (request, response) => {
  try {
    if (request.method === "PUT" && request.url === "/control") {
      person = JSON.parse(await body(request));
      response.writeHead(204).end();
    } else if (request.method === "PUT" && request.url === "/sign-out") {
      // The library makes and sends the logout token; the test takes it on to the portal.
      const client = await provider.Client.find(clientId);
      await client.backchannelLogout(JSON.parse(await body(request)).sub);
      response.writeHead(200).end(caught);
    } else if (request.url === "/caught") {
      caught = await body(request);
      response.writeHead(204).end();
    } else if (request.url.startsWith("/interaction/")) {
      const details = await provider.interactionDetails(request, response);
      if (person.refuses) {
        await provider.interactionFinished(request, response, { error: "access_denied" });
        return;
      }
      const grant = new provider.Grant({ accountId: person.sub, clientId: details.params.client_id });
      grant.addOIDCScope(details.params.scope);
      const grantId = await grant.save();
      await provider.interactionFinished(request, response, { login: { accountId: person.sub }, consent: { grantId } });
    } else {
      await handle(request, response);
    }
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
});
server.listen(Number(port), "127.0.0.1", () => console.log("ready"));
