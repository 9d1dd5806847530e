// The XDP balancer: takes packets for virtual services as they leave the network card and sends them through an IP-in-IP
// tunnel to a backend. Everything else goes on to the kernel. Read README.md first if BPF is new to you.
#include "packet.h"
#include "layout.h"
#include "counters.h"
#include "parse.h"
#include "parse_v6.h"
#include "services.h"
#include "choose.h"
#include "encapsulate.h"
#include "too_big.h"
#include "too_big_v6.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BACKENDS_MAX);
	__type(key, __u32);
	__type(value, struct total);
} backend_totals SEC(".maps");

// XDP_TX on veth needs an XDP program at the other end; redirecting to one's own interface does not.
inlined int transmit(struct xdp_md *ctx, struct backend *backend, __u32 ifindex)
{
	if (backend->flags & BACKEND_TRANSMIT && ctx->ingress_ifindex == ifindex)
		return XDP_TX;
	return bpf_redirect(ifindex, 0);
}

// No link may have a smaller MTU than 1280 for IPv6: nobody would believe an answer that says so.
inlined enum fate say_too_big(struct xdp_md *ctx, struct packet *packet, __u32 mtu)
{
	if (!packet->may_answer || (packet->is_ipv6 && packet->length <= IPV6_MINIMUM_MTU))
		return DROPPED_TOO_BIG;
	if (packet->is_ipv6)
		return answer_too_big_v6(ctx, mtu < IPV6_MINIMUM_MTU ? IPV6_MINIMUM_MTU : mtu);
	return answer_too_big(ctx, mtu);
}

inlined int answer(struct xdp_md *ctx, struct backend *backend, struct packet *packet, __u32 mtu)
{
	enum fate fate = say_too_big(ctx, packet, mtu);
	int verdict = finish(fate);

	return fate == TOO_BIG_ANSWERED ? transmit(ctx, backend, ctx->ingress_ifindex) : verdict;
}

// The backend that the packet goes on to if the first has not its flow; NULL when there is none.
inlined struct backend *second_of(__u32 choice, struct backend *first, struct packet *packet)
{
	__u32 index = CHOICE_SECOND(choice);
	struct backend *second = index ? bpf_map_lookup_elem(&backends, &index) : NULL;

	return second && are_of_its_family(first, second, packet) ? second : NULL;
}

// Bytes of the longest packet that goes through. A datagram with a second chance may not go to the first backend alone
// only because it is long: that one would take the flow for its own. TCP's segments fit, but for those of connections
// that began before hypervisors clamped the MSS to two headers; their clients might never hear of "too big".
inlined __u32 longest(struct backend *first, struct backend *second, struct packet *packet)
{
	bool needs_both = second && packet->protocol == IPPROTO_UDP && packet->may_answer;

	return first->inner_mtu - (needs_both ? header_of(packet) : 0);
}

inlined int forward(struct xdp_md *ctx, struct service *service, struct packet *packet)
{
	__u64 hash = flow_hash(packet->client, packet->ports & service->hash_mask, service->seed);
	__u32 choice = choose(service, packet, hash), chosen = CHOICE_FIRST(choice);
	struct backend *backend = bpf_map_lookup_elem(&backends, &chosen);

	if (!chosen || !backend || !backend->family)
		return finish(REFUSED_NO_BACKEND);
	if (!(backend->flags & BACKEND_RESOLVED))
		return finish(DROPPED_NO_NEIGHBOUR);
	struct backend *second = second_of(choice, backend, packet);
	__u32 mtu = longest(backend, second, packet);
	if (packet->length > mtu)
		return answer(ctx, backend, packet, mtu);
	__u32 index = service->index;
	if (second && packet->length + header_of(packet) <= backend->inner_mtu) {
		if (!give_second_chance(ctx, backend, second, packet, hash))
			return finish(DROPPED_ENCAPSULATION);
		finish(SECOND_CHANCE_GIVEN);
	} else {
		enum fate fate = encapsulate(ctx, backend, packet, hash);
		if (fate != FORWARDED)
			return finish(fate);
		finish(packet->is_error ? ICMP_FORWARDED : FORWARDED);
	}
	add(&service_totals, index, packet->length);
	add(&backend_totals, chosen, packet->length);
	return transmit(ctx, backend, backend->ifindex);
}

inlined int balance_ipv4(struct xdp_md *ctx)
{
	struct packet packet = {};
	enum fate fate = parse((void *)(long)ctx->data, (void *)(long)ctx->data_end, &packet);

	if (fate != FORWARDED)
		return finish(fate);
	struct service *service = service_of(&packet);
	if (!service)
		return finish(packet.is_error ? PASSED_ICMP : PASSED_NO_SERVICE);
	return forward(ctx, service, &packet);
}

// Not inlined: IPv4 keeps the registers and the stack for itself.
static __noinline int balance_ipv6(struct xdp_md *ctx)
{
	struct packet packet = {};
	struct ends_v6 ends = {};
	enum fate fate = parse_v6((void *)(long)ctx->data, (void *)(long)ctx->data_end, &packet, &ends);

	if (fate != FORWARDED)
		return finish(fate);
	struct service *service = service_of_v6(&packet, &ends);
	if (!service)
		return finish(packet.is_error ? PASSED_ICMP : PASSED_NO_SERVICE);
	packet.client = digest_of(ends.client[0], ends.client[1], service->seed);
	return forward(ctx, service, &packet);
}

SEC("xdp")
int balance(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;

	if (data + ETH_HLEN > end)
		return finish(PASSED_TOO_SHORT);
	if (ethernet->h_proto == bpf_htons(ETH_P_IP))
		return balance_ipv4(ctx);
	if (ethernet->h_proto == bpf_htons(ETH_P_IPV6))
		return balance_ipv6(ctx);
	return finish(not_ip(ethernet->h_proto));
}

char _license[] SEC("license") = "GPL";
