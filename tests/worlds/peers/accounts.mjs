// The TypeScript SDK's OAuthServerProvider in memory, with a page that asks the person. Version 1 and the package
// that kept its router for version 2 take the same one.
import { randomUUID } from 'node:crypto';

export class Accounts {
    /**
     * @param lifetime seconds that an access token is good.
     * @param errors the classes of the SDK's own errors.
     * @param namesIssuer whether the page does as the metadata says (RFC 9207).
     */
    constructor(lifetime, errors, namesIssuer = true) {
        this.namesIssuer = namesIssuer;
        this.lifetime = lifetime;
        this.errors = errors;
        this.clients = new Map();
        this.asked = new Map();
        this.codes = new Map();
        this.access = new Map();
        this.refresh = new Map();
        this.clientsStore = {
            getClient: id => this.clients.get(id),
            registerClient: client => {
                this.clients.set(client.client_id, client);
                return client;
            }
        };
    }

    async authorize(client, params, res) {
        const ticket = randomUUID();
        this.asked.set(ticket, { client, params });
        res.redirect(`/ask?ticket=${ticket}`);
    }

    /**
     * The routes of the page. Version 2's router says that its answers name the issuer, and adds it to its own redirects
     * only: a page that sends the browser back must do so itself.
     */
    mount(app) {
        app.get('/ask', (_, res) =>
            res.send('<form method="post"><button name="answer" value="allow">Allow</button></form>')
        );
        app.post('/ask', (req, res) => {
            const { client, params } = this.asked.get(req.query.ticket);
            const code = randomUUID();
            const grant = { clientId: client.client_id, scopes: params.scopes ?? [], resource: params.resource };
            this.codes.set(code, { ...grant, challenge: params.codeChallenge });
            const back = new URL(params.redirectUri);
            back.searchParams.set('code', code);
            if (params.state !== undefined) back.searchParams.set('state', params.state);
            if (params.issuer !== undefined && this.namesIssuer) back.searchParams.set('iss', params.issuer);
            res.redirect(back.href);
        });
    }

    async challengeForAuthorizationCode(_, code) {
        return this.taken(this.codes, code).challenge;
    }

    async exchangeAuthorizationCode(_, code) {
        const grant = this.taken(this.codes, code);
        this.codes.delete(code);
        return this.issue(grant);
    }

    async exchangeRefreshToken(_, token) {
        const grant = this.taken(this.refresh, token);
        this.refresh.delete(token);
        return this.issue(grant);
    }

    taken(held, value) {
        if (!held.has(value)) throw new this.errors.InvalidGrantError('It is unknown or was used.');
        return held.get(value);
    }

    issue({ clientId, scopes, resource }) {
        const [token, refresh] = [randomUUID(), randomUUID()];
        const expiresAt = Date.now() / 1000 + this.lifetime;
        this.access.set(token, { token, clientId, scopes, resource, expiresAt });
        this.refresh.set(refresh, { clientId, scopes, resource });
        return {
            access_token: token,
            token_type: 'bearer',
            expires_in: this.lifetime,
            refresh_token: refresh,
            scope: scopes.join(' ')
        };
    }

    async verifyAccessToken(token) {
        if (!this.access.has(token)) throw new this.errors.InvalidTokenError('It is unknown.');
        return this.access.get(token);
    }

    async revokeToken(_, { token }) {
        this.access.delete(token);
        this.refresh.delete(token);
    }
}
