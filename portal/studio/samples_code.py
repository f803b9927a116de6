"""Client code for an endpoint, ready to run: pure functions from an endpoint's facts to text."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

DEPLOYMENT_HEADER = "azureml-model-deployment"
TIMEOUT_SECONDS = 60
TRIES = 4
INDENT, WIDTH = 4, 80


class Callee(Protocol):
    """What the code needs to know of an endpoint."""

    @property
    def scoring_uri(self) -> str: ...


@dataclass(frozen=True)
class Sample:
    url: str
    headers: dict[str, str]
    body: str
    ca_path: str


@dataclass(frozen=True)
class Language:
    name: str
    label: str
    write: Callable[[Sample], str]


def sample_code(
    endpoint: Callee,
    language: str,
    *,
    key: str,
    body: str,
    ca_path: str,
    deployment: str = "",
    content_type: str = "application/json",
) -> str:
    """A program that scores `body` and prints the answer, and waits and tries again on 429 and 503.

    `language` is one of `LANGUAGES`. An empty `ca_path` trusts what the system trusts, an empty `deployment`
    follows the traffic rules.
    """
    headers = {"Authorization": f"Bearer {key}", "Content-Type": content_type}
    if deployment:
        headers[DEPLOYMENT_HEADER] = deployment
    sample = Sample(endpoint.scoring_uri, headers, body, ca_path)
    return LANGUAGES[language].write(sample)


def patient_curl(endpoint: Callee, *, key: str, body: str, ca_path: str, deployment: str) -> str:
    """A request to `deployment` by cURL that waits for as long as somebody stands at a breakpoint."""
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        DEPLOYMENT_HEADER: deployment,
    }
    return " \\\n  ".join(_curl_words(Sample(endpoint.scoring_uri, headers, body, ca_path))) + "\n"


def _curl(sample: Sample) -> str:
    limits = (
        f"--max-time {TIMEOUT_SECONDS} --retry {TRIES - 1} --fail-with-body --silent --show-error"
    )
    return " \\\n  ".join([*_curl_words(sample), limits]) + "\n"


def _curl_words(sample: Sample) -> list[str]:
    trust = [f"--cacert {shlex.quote(sample.ca_path)}"] if sample.ca_path else []
    return [
        f"curl --request POST {shlex.quote(sample.url)}",
        *trust,
        *(f"--header {shlex.quote(f'{name}: {value}')}" for name, value in sample.headers.items()),
        f"--data-raw {shlex.quote(sample.body)}",
    ]


def _python(sample: Sample) -> str:
    value = _json_value(sample.body)
    if value is None:
        body = f"body = {_python_literal(sample.body)}.encode()"
    else:
        body = f"body = json.dumps({_laid_out(value, _python_literal)}).encode()"
    headers = _laid_out(sample.headers, _python_literal)
    trusted = f"cafile={_python_literal(sample.ca_path)}" if sample.ca_path else ""
    return f"""\
import json
import ssl
import time
import urllib.error
import urllib.request

url = {_python_literal(sample.url)}
headers = {headers}
{body}
trusted = ssl.create_default_context({trusted})

for seconds in (1, 2, 4, None):
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout={TIMEOUT_SECONDS}, context=trusted) as response:
            print(response.read().decode())
        break
    except urllib.error.HTTPError as error:
        if error.code not in (429, 503) or seconds is None:
            raise SystemExit(f"{{error.code}} {{error.reason}}: {{error.read().decode()}}")
        time.sleep(seconds)
"""


def _javascript(sample: Sample) -> str:
    value = _json_value(sample.body)
    body = (
        _text(sample.body) if value is None else f"JSON.stringify({_laid_out(value, json.dumps)})"
    )
    # Node.js is told of an authority by its environment alone.
    trust = f"// NODE_EXTRA_CA_CERTS={shlex.quote(sample.ca_path)} node score.mjs\n"
    return f"""\
{trust if sample.ca_path else ""}const url = {_text(sample.url)};
const headers = {_laid_out(sample.headers, json.dumps)};
const body = {body};

for (const seconds of [1, 2, 4, null]) {{
  const signal = AbortSignal.timeout({TIMEOUT_SECONDS * 1000});
  const response = await fetch(url, {{ method: "POST", headers, body, signal }});
  const text = await response.text();
  if (response.ok) {{
    console.log(text);
    break;
  }}
  if (![429, 503].includes(response.status) || seconds === null) {{
    throw new Error(`${{response.status}} ${{response.statusText}}: ${{text}}`);
  }}
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}}
"""


def _csharp(sample: Sample) -> str:
    others = {name: value for name, value in sample.headers.items() if name != "Content-Type"}
    content_type = sample.headers["Content-Type"]
    body = _raw(sample.body, '"""', '"""', _text(sample.body))
    headers = "\n".join(f"    [{_text(name)}] = {_text(value)}," for name, value in others.items())
    trust = ""
    if sample.ca_path:
        trust = f"""
using var authority = new X509Certificate2({_text(sample.ca_path)});
handler.ServerCertificateCustomValidationCallback = (_, certificate, chain, errors) =>
{{
    if (errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch)) return false;
    chain!.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
    chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
    chain.ChainPolicy.CustomTrustStore.Add(authority);
    return chain.Build(certificate!);
}};"""
    return f"""\
using System.Net.Http.Headers;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using System.Text;

var url = {_text(sample.url)};
var headers = new Dictionary<string, string>
{{
{headers}
}};
var contentType = {_text(content_type)};
var body = {body};

using var handler = new HttpClientHandler();{trust}
using var client = new HttpClient(handler) {{ Timeout = TimeSpan.FromSeconds({TIMEOUT_SECONDS}) }};
foreach (var (name, value) in headers) client.DefaultRequestHeaders.Add(name, value);

foreach (var seconds in new[] {{ 1, 2, 4, 0 }})
{{
    using var content = new ByteArrayContent(Encoding.UTF8.GetBytes(body));
    content.Headers.ContentType = MediaTypeHeaderValue.Parse(contentType);
    using var response = await client.PostAsync(url, content);
    var text = await response.Content.ReadAsStringAsync();
    if (response.IsSuccessStatusCode)
    {{
        Console.WriteLine(text);
        return 0;
    }}
    if ((int)response.StatusCode is not (429 or 503) || seconds == 0)
    {{
        Console.Error.WriteLine($"{{(int)response.StatusCode}} {{response.ReasonPhrase}}: {{text}}");
        return 1;
    }}
    await Task.Delay(TimeSpan.FromSeconds(seconds));
}}
return 1;
"""


def _r(sample: Sample) -> str:
    others = {name: value for name, value in sample.headers.items() if name != "Content-Type"}
    content_type = sample.headers["Content-Type"]
    body = _raw(sample.body, 'r"(', ')"', _text(sample.body, ascii_only=False))
    headers = ",\n".join(
        f"    `{name}` = {_text(value, ascii_only=False)}" for name, value in others.items()
    )
    trust = ""
    if sample.ca_path:
        trust = f" |>\n  req_options(cainfo = {_text(sample.ca_path, ascii_only=False)})"
    return f"""\
library(httr2)

url <- {_text(sample.url, ascii_only=False)}
body <- {body}

response <- request(url) |>
  req_headers(
{headers}
  ) |>
  req_body_raw(body, type = {_text(content_type, ascii_only=False)}) |>
  req_timeout({TIMEOUT_SECONDS}) |>
  req_retry(max_tries = {TRIES}){trust} |>
  req_perform()

cat(resp_body_string(response), "\\n")
"""


def _go(sample: Sample) -> str:
    imports = ["bytes", "fmt", "io", "net/http", "os", "time"]
    trust, transport = "", ""
    if sample.ca_path:
        imports += ["crypto/tls", "crypto/x509"]
        trust = f"""\
	authority, err := os.ReadFile({_text(sample.ca_path, ascii_only=False)})
	if err != nil {{
		panic(err)
	}}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	transport := &http.Transport{{TLSClientConfig: &tls.Config{{RootCAs: trusted}}}}
"""
        transport = ", Transport: transport"
    body = _raw(sample.body, "`", "`", _text(sample.body, ascii_only=False))
    listed = "\n".join(f'\t"{name}"' for name in sorted(imports))
    headers = "\n".join(
        f"\t\trequest.Header.Set({_text(name)}, {_text(value, ascii_only=False)})"
        for name, value in sample.headers.items()
    )
    return f"""\
package main

import (
{listed}
)

func main() {{
	url := {_text(sample.url, ascii_only=False)}
	body := []byte({body})
{trust}	client := &http.Client{{Timeout: {TIMEOUT_SECONDS} * time.Second{transport}}}

	for _, pause := range []time.Duration{{1, 2, 4, 0}} {{
		request, err := http.NewRequest("POST", url, bytes.NewReader(body))
		if err != nil {{
			panic(err)
		}}
{headers}
		response, err := client.Do(request)
		if err != nil {{
			panic(err)
		}}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode == 200 {{
			fmt.Println(string(text))
			return
		}}
		if (response.StatusCode != 429 && response.StatusCode != 503) || pause == 0 {{
			fmt.Fprintf(os.Stderr, "%s: %s\\n", response.Status, text)
			os.Exit(1)
		}}
		time.Sleep(pause * time.Second)
	}}
}}
"""


LANGUAGES: dict[str, Language] = {
    language.name: language
    for language in (
        Language("curl", "cURL", _curl),
        Language("python", "Python", _python),
        Language("javascript", "JavaScript", _javascript),
        Language("csharp", "C#", _csharp),
        Language("r", "R", _r),
        Language("go", "Go", _go),
    )
}


def _text(value: str, *, ascii_only: bool = True) -> str:
    """A string literal; Go and R know JSON's escapes but not its pairs of surrogates."""
    return json.dumps(value, ensure_ascii=ascii_only)


def _raw(value: str, opening: str, closing: str, otherwise: str) -> str:
    """The text as it is between the marks of a raw string, where that is possible."""
    is_plain = value.isprintable() and value[:1] != '"' and value[-1:] != '"'
    if is_plain and closing not in value and closing[0] != value[-1:]:
        return f"{opening}{value}{closing}"
    return otherwise


def _python_literal(value: object) -> str:
    """On one line, with double quotes as formatters like them."""
    if isinstance(value, dict):
        pairs = (f"{_python_literal(key)}: {_python_literal(item)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_python_literal, value))}]"
    # A lone surrogate has no place in a source file; `repr` escapes it.
    if isinstance(value, str) and value.isprintable():
        return _text(value, ascii_only=False)
    return repr(value)


def _json_value(body: str) -> object:
    """What the body says, or None if it is not JSON."""
    try:
        value: object = json.loads(body, parse_constant=_refuse)
    except ValueError:
        return None
    return value


def _refuse(word: str) -> None:
    """NaN and its like are not JSON, and a name without meaning in other languages."""
    raise ValueError(word)


def _laid_out(value: object, write: Callable[[object], str], level: int = 0) -> str:
    """`value` as a literal, broken into lines only where one would be too long."""
    whole = write(value)
    if len(whole) <= WIDTH - INDENT * level or not isinstance(value, dict | list) or not value:
        return whole
    if isinstance(value, dict):
        marks = "{}"
        items = [
            f"{write(key)}: {_laid_out(item, write, level + 1)}" for key, item in value.items()
        ]
    else:
        marks = "[]"
        items = [_laid_out(item, write, level + 1) for item in value]
    pad = " " * INDENT * (level + 1)
    inner = "".join(f"{pad}{item},\n" for item in items).removesuffix(",\n")
    return f"{marks[0]}\n{inner}\n{' ' * INDENT * level}{marks[1]}"
