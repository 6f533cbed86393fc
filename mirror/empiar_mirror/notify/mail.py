"""Notifications by e-mail, with the standard library in a thread that nobody waits for at the end."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Final

from empiar_mirror.notify.gathering import Message
from empiar_mirror.notify.way import NotDelivered
from empiar_schema.notify_settings import NotifySettings
from empiar_wire.daemon_threads import DaemonThreads

_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}


class MailWay:
    """Sends the message as plain text to the recipients, in one e-mail."""

    def __init__(self, settings: NotifySettings) -> None:
        self._settings = settings
        self._port = settings.port or _PORTS[settings.security]

    async def send(self, message: Message) -> None:
        """The mail server has taken it for all recipients.

        Raises:
            NotDelivered: it has not, or not for all.
        """
        threads = DaemonThreads(1, "mail")
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(threads, self._send, self.written(message))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def written(self, message: Message) -> EmailMessage:
        """The e-mail. Its header has no line of anybody else's making."""
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.title.split())[:200]
        mail["From"] = self._settings.sender
        mail["To"] = ", ".join(self._settings.recipients)
        mail["Date"] = format_datetime(datetime.fromtimestamp(message.at, UTC))
        mail["Message-ID"] = make_msgid(domain=self._settings.sender.rpartition("@")[2])
        # So that no absence notice answers.
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text + "\n")
        return mail

    def _send(self, mail: EmailMessage) -> None:
        try:
            with self._connected() as server:
                refused = server.send_message(mail)
        except smtplib.SMTPAuthenticationError as error:
            raise NotDelivered(
                f"the mail server refuses the login (SMTP {error.smtp_code})", again=False
            ) from None
        except smtplib.SMTPResponseException as error:
            code = error.smtp_code
            raise NotDelivered(f"the mail server answered SMTP {code}", again=400 <= code < 500) from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            again = all(400 <= code < 500 for code in codes)
            raise NotDelivered(
                f"the mail server takes no recipient (SMTP {', '.join(map(str, sorted(codes)))})", again=again
            ) from None
        except smtplib.SMTPNotSupportedError:
            reason = "the mail server offers no login or no encryption, which the configuration wants"
            raise NotDelivered(reason, again=False) from None
        except ssl.SSLError:
            raise NotDelivered("the mail server's certificate is not trusted", again=False) from None
        except (OSError, smtplib.SMTPException) as error:
            why = (isinstance(error, OSError) and error.strerror) or type(error).__name__
            raise NotDelivered(f"the mail server cannot be reached: {why}", again=True) from None
        if refused:
            # Those who were taken have it; another try would tell them twice.
            raise NotDelivered(f"the mail server refused {len(refused)} of the recipients", again=False)

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        if settings.security == "tls":
            context = ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, self._port, timeout=settings.timeout, context=context
            )
        else:
            server = smtplib.SMTP(settings.host, self._port, timeout=settings.timeout)
        try:
            if settings.security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if settings.user:
                password = settings.password.get_secret_value() if settings.password else ""
                server.login(settings.user, password)
        except BaseException:
            server.close()
            raise
        return server
