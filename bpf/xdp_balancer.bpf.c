// The XDP balancer: takes packets for virtual services as they leave the network card and sends them through an IP-in-IP
// tunnel to a backend. Everything else goes on to the kernel. Read README.md first if BPF is new to you.
#include "packet.h"
#include "layout.h"
#include "counters.h"
#include "parse.h"
#include "services.h"
#include "choose.h"
#include "encapsulate.h"
#include "too_big.h"

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

inlined int answer(struct xdp_md *ctx, struct backend *backend, struct packet *packet)
{
	enum fate fate = packet->may_answer ? answer_too_big(ctx, backend->inner_mtu) : DROPPED_TOO_BIG;
	int verdict = finish(fate);

	return fate == TOO_BIG_ANSWERED ? transmit(ctx, backend, ctx->ingress_ifindex) : verdict;
}

inlined int forward(struct xdp_md *ctx, struct service *service, struct packet *packet)
{
	__u64 hash = flow_hash(packet->client, packet->ports & service->hash_mask, service->seed);
	__u32 chosen = choose(service, packet, hash);
	struct backend *backend = bpf_map_lookup_elem(&backends, &chosen);

	if (!chosen || !backend || !backend->address)
		return finish(REFUSED_NO_BACKEND);
	if (!(backend->flags & BACKEND_RESOLVED))
		return finish(DROPPED_NO_NEIGHBOUR);
	if (packet->length > backend->inner_mtu)
		return answer(ctx, backend, packet);
	__u32 index = service->index;
	enum fate fate = encapsulate(ctx, backend, packet, hash);
	if (fate != FORWARDED)
		return finish(fate);
	add(&service_totals, index, packet->length);
	add(&backend_totals, chosen, packet->length);
	finish(packet->is_error ? ICMP_FORWARDED : FORWARDED);
	return transmit(ctx, backend, backend->ifindex);
}

SEC("xdp")
int balance(struct xdp_md *ctx)
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

char _license[] SEC("license") = "GPL";
