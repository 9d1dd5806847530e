"""Does a name server answer a question with NOERROR (RFC 1035)? Asked over UDP."""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.rcode

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.probes.datagrams import Conversation, sent
from bascule.healthchecks.probes.words import reason_of
from bascule.model.addresses import IPAddress
from bascule.model.health_checks import HealthCheck

# keepalived's DNS_CHECK asks these when it is told nothing.
NAME, TYPE = ".", "SOA"


class DnsProbe:
    """Asks one question, recursion desired."""

    async def check(self, address: IPAddress, health_check: HealthCheck) -> ProbeResult:
        """Healthy when the answer's status is NOERROR, and if the check wants it at least one record is in it."""
        question = dns.message.make_query(health_check.dns_name or NAME, health_check.dns_type or TYPE)
        try:
            async with sent(address, health_check.port, question.to_wire()) as conversation:
                answer = await _answer_to(question, conversation)
        except OSError as error:
            return ProbeResult(False, reason_of(error))
        except dns.exception.DNSException as error:
            return ProbeResult(False, f"no DNS answer: {str(error) or type(error).__name__}")
        status = dns.rcode.to_text(answer.rcode())
        records = sum(len(each) for each in answer.answer)
        # An answer that was cut has records, even when none of them fitted.
        enough = bool(records) or bool(answer.flags & dns.flags.TC) or not health_check.dns_answer
        return ProbeResult(answer.rcode() == dns.rcode.NOERROR and enough, f"{status}, {records} records")


async def _answer_to(question: dns.message.Message, conversation: Conversation) -> dns.message.Message:
    """The answer to this question; late ones to earlier questions are passed over. Raises DNSException, OSError."""
    while True:
        answer = dns.message.from_wire(await conversation.answer(), ignore_trailing=True, raise_on_truncation=False)
        if question.is_response(answer):
            return answer
