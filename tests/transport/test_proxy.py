"""Which proxy a request goes through, and what NO_PROXY excepts."""

from __future__ import annotations

import pytest

from callgate.errors import ConfigurationError
from callgate.transport.proxy import Proxies, Proxy, read_proxy
from callgate.transport.request_head import read_target


@pytest.mark.parametrize(
    ("exceptions", "url"),
    [
        ("api.example", "http://api.example:9999/"),
        ("api.example:9999", "http://api.example:9999/"),
        ("api.example:80", "http://api.example/"),
        ("api.example:443", "https://api.example/"),
        (".example", "http://api.example/"),
        ("other.example, 10.0.0.5", "http://10.0.0.5:8000/"),
        ("10.0.0.5:8000", "http://10.0.0.5:8000/"),
        ("fd00::5", "http://[fd00::5]:8000/"),
        ("10.0.0.0/8", "http://10.1.2.3/"),
        ("10.1.2.3/8", "http://10.200.0.1/"),
        ("172.16.0.0/12, 192.168.0.0/16", "http://192.168.1.9/"),
        ("10.0.0.0/8", "http://[::ffff:10.0.0.5]/"),
        ("2001:db8::/32", "http://[2001:db8::5]/"),
        ("2001:DB8:0:0::5", "http://[2001:db8::5]/"),
        ("[2001:db8::5]", "http://[2001:db8::5]/"),
        ("[2001:db8::5]:8443", "https://[2001:db8::5]:8443/"),
        ("10.*", "http://10.0.0.5/"),
        ("*.corp.example", "http://llm.corp.example/"),
        ("*.corp.example:8000", "http://llm.corp.example:8000/"),
        ("example", "http://a.b.example/"),
        ("API.Example", "http://api.example/"),
        ("bücher.example", "http://bücher.example/"),
        ("http://api.example", "http://api.example/"),
        ("other.example api.example", "http://api.example/"),
        ("<local>", "http://intranet:8000/"),
        ("", "http://0.0.0.0:8000/"),
        ("", "http://[::]:8000/"),
        ("", "http://[::ffff:127.0.0.1]:8000/"),
        ("*", "http://api.example/"),
        ("", "http://localhost:9999/"),
        ("", "https://[::1]:9999/"),
    ],
)
def test_what_no_proxy_names_is_asked_directly(exceptions: str, url: str) -> None:
    proxies = Proxies({"all": "http://proxy.example:3128", "no": exceptions})
    assert proxies.find(read_target(url)) is None


@pytest.mark.parametrize(
    ("exceptions", "url"),
    [
        ("", "http://api.example/"),
        ("api.example:9999", "http://api.example/"),
        ("api.example:80", "https://api.example/"),
        ("localhost", "http://localhost.example/"),
        ("10.0.0.0/8", "http://11.0.0.5/"),
        ("10.0.0.0/8", "http://10.example/"),
        ("10.*", "http://10.evil.example/"),
        ("*.corp.example", "http://corp.example.org/"),
        ("*.corp.example", "http://corp.example/"),
        ("corp.example", "http://notcorp.example/"),
        ("192.168.0.0/16", "http://192.169.0.1/"),
        ("2001:db8::/32", "http://[2001:db9::1]/"),
        ("[2001:db8::5]:8443", "https://[2001:db8::5]/"),
        ("<local>", "http://api.example/"),
        ("1.2.3.4/99, ,:, [", "http://1.2.3.4/"),
        ("0.0.0.5", "http://10.0.0.5/"),
    ],
)
def test_what_no_proxy_does_not_name_is_asked_through_the_proxy(exceptions: str, url: str) -> None:
    proxies = Proxies({"all": "http://u:p%40ss@proxy.example:3128", "no": exceptions})
    assert proxies.find(read_target(url)) == Proxy("http", "proxy.example", 3128, "u", "p@ss")


@pytest.mark.parametrize(
    "proxy", ["http://h:port", "http://h:0", "http://[::1", "http://" + "a" * 64, "http://"]
)
def test_a_proxy_with_an_unusable_url_is_a_configuration_error(proxy: str) -> None:
    with pytest.raises(ConfigurationError):
        Proxies({"all": proxy}).find(read_target("https://api.example/"))


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("proxy.example:3128", Proxy("http", "proxy.example", 3128)),
        ("http://proxy.example", Proxy("http", "proxy.example", 80)),
        ("https://proxy.example", Proxy("https", "proxy.example", 443)),
        ("socks5://proxy.example", Proxy("socks5", "proxy.example", 1080)),
        ("socks5h://u@[::1]:9050", Proxy("socks5h", "::1", 9050, "u")),
        ("socks4a://proxy.example:1", Proxy("socks4a", "proxy.example", 1)),
    ],
)
def test_a_proxy_is_read_from_its_url(url: str, found: Proxy) -> None:
    assert read_proxy(url) == found


@pytest.mark.parametrize("url", ["ftp://u:secret1@h", "http://u:secret1@h:port", "quic://secret1", ""])
def test_an_unusable_proxy_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_proxy(url)
    assert caught.value.setting == "proxy"
    assert "secret1" not in str(caught.value)


def test_a_proxy_does_not_show_its_credentials() -> None:
    proxy = read_proxy("http://user1:secret1@proxy.example")
    assert proxy.authorization.startswith("Basic ")
    assert "secret1" not in repr(proxy) + repr(Proxies({"all": "http://u:secret1@h"}))
