// A web application that lets people in with passport-github2. Arguments: web address, API address, client id and secret.
// The first line out is its own address; what it learns about a person is the answer to the callback.
import { createServer } from "node:http";
import passport from "passport";
import { Strategy } from "passport-github2";

const [web, api, clientID, clientSecret] = process.argv.slice(2);

const server = createServer((request, response) => {
  request.query = Object.fromEntries(new URL(request.url, "http://127.0.0.1").searchParams);
  passport.authenticate("github", { session: false })(request, response, (error) => {
    response.writeHead(error ? 500 : 200, { "Content-Type": "application/json" });
    response.end(JSON.stringify(error ? { error: `${error} ${error.oauthError?.data ?? ""}` } : request.user));
  });
});

server.listen(0, "127.0.0.1", () => {
  const address = `http://127.0.0.1:${server.address().port}`;
  const options = {
    clientID,
    clientSecret,
    callbackURL: `${address}/callback`,
    authorizationURL: `${web}/login/oauth/authorize`,
    tokenURL: `${web}/login/oauth/access_token`,
    userProfileURL: `${api}/user`,
    userEmailURL: `${api}/user/emails`,
    scope: ["user:email"],
    allRawEmails: true,
  };
  passport.use(
    new Strategy(options, (accessToken, refreshToken, answer, profile, done) => {
      const { id, username, displayName, profileUrl, emails } = profile;
      done(null, { id, username, displayName, profileUrl, emails, accessToken, refreshToken, scope: answer.scope });
    }),
  );
  console.log(address);
});
