// Signs in with octokit as an OAuth App, as a GitHub App and as a device, reads, refreshes and revokes.
// Arguments: API address, client id and secret of the OAuth App, then of the GitHub App, scopes.
// What a person has to do goes out as a line of JSON; for a URL the callback comes back as a line. The last line is the result.
import { createInterface } from "node:readline";
import { OAuthApp } from "@octokit/oauth-app";
import { createOAuthUserAuth } from "@octokit/auth-oauth-user";
import { Octokit } from "octokit";

const [baseUrl, oauthId, oauthSecret, appId, appSecret, scopes, redirectUrl] = process.argv.slice(2);
const Client = Octokit.defaults({ baseUrl, throttle: { enabled: false }, retry: { enabled: false } });
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (message) => console.log(JSON.stringify(message));

async function consent(app, state) {
  const { url } = app.getWebFlowAuthorizationUrl({ state, redirectUrl, scopes: scopes.split(" ") });
  say({ url });
  const callback = new URL((await lines.next()).value);
  if (callback.searchParams.get("state") !== state) throw new Error("another state came back");
  return (await app.createToken({ code: callback.searchParams.get("code"), state, redirectUrl })).authentication;
}

async function status(call) {
  return call.then(
    (answer) => answer.status,
    (error) => error.status,
  );
}

async function read(octokit) {
  const user = (await octokit.rest.users.getAuthenticated()).data;
  const repositories = await octokit.paginate(octokit.rest.repos.listForAuthenticatedUser, { per_page: 10 });
  const hello = (await octokit.rest.repos.get({ owner: "octocat", repo: "hello-world" })).data;
  return {
    login: user.login,
    repositories: repositories.length,
    mayPush: hello.permissions.push,
    emails: await status(octokit.rest.users.listEmailsForAuthenticatedUser()),
    organizations: (await octokit.rest.orgs.listForAuthenticatedUser()).data.map((one) => one.login),
    public: (await octokit.rest.users.getByUsername({ username: "hubot" })).data.login,
    meta: await status(octokit.rest.meta.get()),
  };
}

const oauth = new OAuthApp({ clientType: "oauth-app", clientId: oauthId, clientSecret: oauthSecret, Octokit: Client });
const { token } = await consent(oauth, "first");
const web = await read(await oauth.getUserOctokit({ token }));
const checked = (await oauth.checkToken({ token })).authentication.scopes;
const reset = (await oauth.resetToken({ token })).authentication.token;
const beforeReset = await status(oauth.checkToken({ token }));
await oauth.deleteToken({ token: reset });
const afterDeletion = await status(oauth.checkToken({ token: reset }));

const github = new OAuthApp({ clientType: "github-app", clientId: appId, clientSecret: appSecret, Octokit: Client });
const first = await consent(github, "second");
const second = (await github.refreshToken({ refreshToken: first.refreshToken })).authentication;
const asApp = await read(await github.getUserOctokit(second));
const firstNow = await status(github.checkToken({ token: first.token }));
await github.deleteAuthorization({ token: second.token });
const secondNow = await status(github.checkToken({ token: second.token }));

const device = new Client({
  authStrategy: createOAuthUserAuth,
  auth: {
    clientType: "oauth-app",
    clientId: oauthId,
    clientSecret: oauthSecret,
    scopes: scopes.split(" "),
    onVerification: ({ verification_uri, user_code }) => say({ verification_uri, user_code }),
  },
});
// A request that comes before this would sign in for itself alone.
await device.auth({ type: "get" });
const byDevice = await read(device);

say({ web, checked, beforeReset, afterDeletion, asApp, firstNow, secondNow, byDevice });
process.exit(0);
