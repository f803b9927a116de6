"""One's own account: tokens, shown once, and the password."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm, SetPasswordForm
from django.contrib.auth.password_validation import password_validators_help_texts
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.pages import go, toast
from portal.studio.as_code.forms import Forms
from portal.studio.as_code.tokens import create_token as create_token_code
from portal.studio.as_code.tokens import revoke_token as revoke_token_code
from portal.studio.code_part import asks_for_code, code_part, place_of, samples_of
from portal.studio.scope import StudioRequest, studio_page
from workspaces import lifetimes, tokens
from workspaces.errors import NotFound, UserError
from workspaces.models import TokenScope, User, Workspace

LIFETIMES = (7, 30, 90, 365)
SCOPE_WORDS = {
    TokenScope.FULL: gettext_lazy("everything I may"),
    TokenScope.READ: gettext_lazy("read only: no keys, no changes"),
    TokenScope.SCORE: gettext_lazy("score only: call models, change nothing"),
}


@studio_page("read")
def account(request: StudioRequest) -> HttpResponse:
    """The account page; a POST sets a new password."""
    form = _password_form(request)
    if request.method == "POST" and form.is_valid():
        form.save()
        update_session_auth_hash(request, request.user)
        toast(request, _("The password was changed. Other browsers are signed out."))
        return go(request, _url(request))
    return _page(request, form, status=422 if form.errors else 200)


@studio_page("read")
def create_token(request: StudioRequest) -> HttpResponse:
    """Make a token and show it this once."""
    if request.method != "POST":
        return go(request, _url(request))
    typed = {name: request.POST.get(name, "").strip() for name in ("name", "scope", "workspace")}
    if asks_for_code(request):
        return code_part(request, _code(request, typed, request.POST.get("days", "")))
    form = _password_form(request, is_sent=False)
    try:
        token, text = tokens.create_token(
            request.user,
            typed["name"],
            scope=typed["scope"] or TokenScope.FULL,
            workspace=_chosen_workspace(request, typed["workspace"]),
            lifetime=_chosen_lifetime(request.POST.get("days", "")),
        )
    except UserError as error:
        status = 409 if error.status == 409 else 422
        return _page(request, form, problem=error, typed=typed, status=status)
    return _page(request, form, new_token=text, new_token_name=token.name)


@studio_page("read")
def revoke_token(request: StudioRequest, pk: int) -> HttpResponse:
    """A POST ends the token at once; only one's own."""
    if request.method == "POST":
        try:
            tokens.revoke_token(request.user, pk)
        except NotFound as error:
            raise Http404 from error
        toast(request, _("The token was revoked. Whoever uses it gets 401 from now on."))
    return go(request, _url(request))


def _chosen_workspace(request: StudioRequest, name: str) -> Workspace | None:
    """None for all of them; a name that the user cannot see is refused, so that no wider token comes of it."""
    if not name:
        return None
    found = Workspace.objects.visible_to(request.user).filter(name=name).first()
    if found is None:
        raise UserError(
            _("There is no such workspace. Choose one of the list."), target="workspace"
        )
    return found


def _chosen_lifetime(days: str) -> timedelta | None:
    """One of those offered; the usual one for anything else."""
    if days == "endless":
        return lifetimes.NO_END
    return timedelta(days=int(days)) if days in {str(item) for item in LIFETIMES} else None


def _password_form(request: StudioRequest, *, is_sent: bool = True) -> SetPasswordForm[User]:
    """Who has a password must know it: an open browser must not be enough to take an account over."""
    data = request.POST if is_sent and request.method == "POST" else None
    knows_one = request.user.has_usable_password()
    form_class = PasswordChangeForm if knows_one else SetPasswordForm
    form: SetPasswordForm[User] = form_class(request.user, data)
    for field in form.fields.values():
        # The page begins with the tokens: no jump to the password.
        field.widget.attrs.pop("autofocus", None)
    form.fields["new_password1"].help_text = " ".join(password_validators_help_texts())
    return form


def _page(
    request: StudioRequest,
    form: SetPasswordForm[User],
    *,
    new_token: str = "",
    new_token_name: str = "",
    problem: UserError | None = None,
    typed: dict[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    found = list(request.user.personal_tokens.select_related("workspace").order_by("name"))
    place = place_of(request)
    context = {
        "form": form,
        "tokens": found,
        "revoke_dialogs": [
            (token, revoke_token_code(place, token.pk).samples(place)) for token in found
        ],
        "now": timezone.now(),
        "new_token": new_token,
        "new_token_name": new_token_name,
        "problem": problem,
        "typed": typed or {},
        "lifetimes": [days for days in LIFETIMES if timedelta(days=days) <= lifetimes.longest()],
        "usual_days": lifetimes.usual().days,
        "may_be_endless": lifetimes.longest() == lifetimes.NO_END,
        "scopes": SCOPE_WORDS.items(),
        "workspaces": Workspace.objects.visible_to(request.user),
        "workspace": request.workspace,
        "code_samples": samples_of(request, _code(request, typed or {}, "")),
        "code_url": reverse("studio:create_token", args=[request.workspace.name]),
    }
    response = render(request, "workspaces/account.html", context, status=status)
    if new_token:
        response["Cache-Control"] = "no-store"
    return response


def _code(request: StudioRequest, typed: dict[str, str], days: str) -> Forms:
    lifetime = 0 if days == "endless" else int(days) if days.isdecimal() else None
    return create_token_code(
        place_of(request),
        typed.get("name") or "laptop",
        scope=typed.get("scope", ""),
        workspace=typed.get("workspace", ""),
        days=lifetime,
    )


def _url(request: StudioRequest) -> str:
    return reverse("studio:account", kwargs={"workspace": request.workspace.name})
