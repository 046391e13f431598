// Operations: from the call to the result. See engine.h.
#include <algorithm>
#include <array>
#include <cstring>

#include "src/base/format.h"
#include "src/engine/engine.h"

namespace tutti {

namespace {

constexpr std::size_t kPlansMax = 128;
constexpr std::size_t kScratchKept = 64 << 20;

std::uint64_t hash_name(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

std::uint64_t hash_table(const BlockTable& table) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const std::uint64_t count : table.counts) hash = (hash ^ count) * 0x100000001b3ull;
  return hash;
}

bool has_table(CallKind kind) {
  return kind == CallKind::all_gather_v || kind == CallKind::reduce_scatter_v || kind == CallKind::all_to_all_v ||
         kind == CallKind::gather_v || kind == CallKind::scatter_v;
}

BlockKnowledge knowledge_of(CallKind kind) {
  if (kind == CallKind::all_gather_v || kind == CallKind::reduce_scatter_v) return BlockKnowledge::table;
  return has_table(kind) ? BlockKnowledge::own_only : BlockKnowledge::uniform;
}

Signature signature_of(const OperationRequest& request) {
  Signature signature;
  signature.kind = request.kind;
  signature.type = request.type;
  signature.op = has_type_and_op(request.kind) ? request.op : ReduceOp::sum;
  signature.root = request.kind == CallKind::point_to_point ? 0 : request.root;
  signature.algorithm =
      request.algorithm.empty() ? 0 : static_cast<std::uint8_t>(hash_name(request.algorithm) % 255 + 1);
  signature.count = request.count;
  if (request.kind == CallKind::barrier) {
    signature.type = DataType::uint8;
    signature.count = 0;
  }
  if (request.kind == CallKind::all_gather_v) signature.count = hash_table(request.output_table);
  if (request.kind == CallKind::reduce_scatter_v) signature.count = hash_table(request.input_table);
  if (signature.per_message()) signature.count = request.kind == CallKind::point_to_point ? request.count : 0;
  return signature;
}

// One message from one rank to another, as a program.
Program point_to_point_program(Rank ranks, Rank self, Rank peer, bool sends) {
  Program program;
  program.call = {Collective::broadcast, ranks, self, sends ? self : peer, false};
  if (peer == self) program.call.root = sends ? self : -1;
  program.peers.push_back(peer);
  Step step;
  step.kind = sends ? StepKind::send : StepKind::receive;
  step.peers = {0, 1};
  step.source = View{Buffer::input};
  step.target = View{Buffer::output};
  program.steps.push_back(step);
  return program;
}

// A copy of the input with its blocks where they were, each changed on the way; what lies between them is not read.
template <typename Change>
const std::byte* changed_copy(const std::byte* input, const BlockTable& table, std::uint64_t elements,
                              std::uint64_t element_bytes, std::vector<std::byte>& copy, const Change& change) {
  std::uint64_t end = table.counts.empty() ? elements : 0;
  for (std::size_t b = 0; b < table.counts.size(); ++b) end = std::max(end, table.offsets[b] + table.counts[b]);
  copy.resize(end * element_bytes);
  if (table.counts.empty()) change(copy.data(), input, elements);
  for (std::size_t b = 0; b < table.counts.size(); ++b) {
    const std::uint64_t at = table.offsets[b] * element_bytes;
    change(copy.data() + at, input + at, table.counts[b]);
  }
  return copy.data();
}

std::uint64_t total(const BlockTable& blocks, std::uint32_t count) {
  std::uint64_t sum = 0;
  for (std::uint32_t b = 0; b < count; ++b) sum += blocks.length(b);
  return sum;
}

}  // namespace

std::string Engine::title(const Operation& operation) const {
  const Communicator& communicator = *operation.communicator_;
  if (operation.point_to_point_) {
    return format("{} {} {} ({}) on {}", operation.sends_ ? "send to" : "receive from",
                  communicator.describe(operation.peer_), operation.number_, operation.signature_.describe(),
                  communicator.name_);
  }
  return format("{} {} on {}", operation.signature_.describe(), operation.number_, communicator.name_);
}

Result<std::shared_ptr<const CompiledPlan>> Engine::make_plan(Communicator& communicator,
                                                              const OperationRequest& request) {
  const Rank ranks = communicator.size();
  auto compiled = std::make_shared<CompiledPlan>();
  if (request.kind == CallKind::agree) {
    compiled->algorithm = ShortName("agree");
    return std::shared_ptr<const CompiledPlan>(std::move(compiled));
  }
  CompileOptions options;
  options.element_bytes = request.kind == CallKind::barrier ? 1 : size_of(request.type);
  Extents extents;
  extents.input = request.input_table;
  extents.output = request.output_table;
  if (extents.input.counts.empty()) extents.input.count = request.kind == CallKind::barrier ? 1 : request.count;
  if (extents.output.counts.empty())
    extents.output.count = extents.input.counts.empty() ? extents.input.count : request.count;
  if (extents.input.counts.empty() && !extents.output.counts.empty()) extents.input.count = request.count;
  options.send_empty = signature_of(request).per_message();
  if (request.kind == CallKind::point_to_point) {
    PlanQuery query;
    query.what = Collective::broadcast;
    query.blocks = BlockKnowledge::own_only;
    Result<Plan> plan = communicator.planner_->plan(query);
    if (!plan) return plan.status();
    options.segment_bytes = plan->segment_bytes;
    Result<CompiledLane> lane =
        compile(point_to_point_program(ranks, communicator.rank_, request.root, request.sends), extents, options);
    if (!lane) return lane.status();
    compiled->lanes.push_back(std::move(*lane));
    compiled->algorithm = ShortName("point_to_point");
    return std::shared_ptr<const CompiledPlan>(std::move(compiled));
  }
  PlanQuery query;
  query.what = collective_of(request.kind);
  query.blocks = knowledge_of(request.kind);
  query.element_bytes = options.element_bytes;
  query.root = request.root;
  query.block_bytes = extents.input.counts.empty() ? extents.input.count * options.element_bytes : 0;
  if (query.blocks == BlockKnowledge::table) {
    const BlockTable& table = request.kind == CallKind::all_gather_v ? request.output_table : request.input_table;
    query.block_bytes = *std::max_element(table.counts.begin(), table.counts.end()) * options.element_bytes;
  }
  Result<Plan> plan = communicator.planner_->plan(query, request.algorithm);
  if (!plan) return plan.status();
  compiled->plan = std::move(*plan);
  options.segment_bytes = compiled->plan.segment_bytes;
  Call call{query.what, ranks, communicator.rank_, is_rooted(query.what) ? request.root : 0, request.in_place};
  const Layout layout(call);
  extents.in_place = request.in_place;
  if (request.in_place && (query.what == Collective::all_gather || query.what == Collective::gather)) {
    extents.input_to_output =
        static_cast<std::int64_t>(extents.output.offset(static_cast<std::uint32_t>(communicator.rank_)));
  }
  if (request.in_place && (query.what == Collective::reduce_scatter || query.what == Collective::scatter)) {
    extents.input_to_output =
        -static_cast<std::int64_t>(extents.input.offset(static_cast<std::uint32_t>(communicator.rank_)));
  }
  for (const LanePlan& lane_plan : compiled->plan.lanes) {
    options.share = {lane_plan.share_begin, lane_plan.share_end};
    Result<CompiledLane> lane = compile(make_program(*lane_plan.algorithm, call), extents, options);
    if (!lane) return lane.status().prefixed(format("{} by {}", name(request.kind), lane_plan.algorithm->name));
    compiled->lanes.push_back(std::move(*lane));
  }
  compiled->algorithm = ShortName(compiled->plan.lanes[0].algorithm->name);
  compiled->input_bytes = total(extents.input, layout.input_blocks) * options.element_bytes;
  const Shape& shape = communicator.planner_->shape();
  if (shape.shared_memory && shape.hosts == 1) {  // what came by a network waits in the cache to be sent on
    const std::uint64_t output_bytes = total(extents.output, layout.output_blocks) * options.element_bytes;
    compiled->streaming =
        (compiled->input_bytes + output_bytes) * static_cast<std::uint64_t>(shape.ranks) > options_.cache_bytes;
  }
  const bool blocked_input = query.what == Collective::all_to_all || query.what == Collective::reduce_scatter ||
                             query.what == Collective::scatter;
  compiled->board_offset = blocked_input ? static_cast<std::uint64_t>(communicator.rank_) * query.block_bytes : 0;
  for (const CompiledStep& step : compiled->lanes[0].steps) compiled->sends |= step.kind == StepKind::send;
  options_.log.write(LogLevel::debug, "plan", "{}: {}", communicator.name_, compiled->plan.why);
  return std::shared_ptr<const CompiledPlan>(std::move(compiled));
}

Result<std::shared_ptr<const CompiledPlan>> Engine::find_plan(Communicator& communicator,
                                                              const OperationRequest& request) {
  if (has_table(request.kind)) return make_plan(communicator, request);
  const Communicator::PlanKey key{request.kind,
                                  static_cast<std::uint8_t>(size_of(request.type)),
                                  request.in_place,
                                  request.sends,
                                  request.root,
                                  request.count,
                                  request.algorithm.empty() ? 0 : hash_name(request.algorithm)};
  auto& plans = communicator.plans_;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    if (!(plans[i].key == key)) continue;
    if (i > 0) std::swap(plans[i], plans[i / 2]);  // what is used often moves to the front
    return plans[i / 2].plan;
  }
  Result<std::shared_ptr<const CompiledPlan>> made = make_plan(communicator, request);
  if (!made) return made;
  if (plans.size() >= kPlansMax) plans.pop_back();
  plans.push_back({key, *made});
  return made;
}

Status Engine::check(Communicator* communicator, const OperationRequest& request) {
  if (!communicator->takes_operations()) return communicator->failure_;
  return find_plan(*communicator, request).status();
}

Result<Operation*> Engine::start(Communicator* communicator, const OperationRequest& request, Instant now) {
  if (!communicator->takes_operations()) return communicator->failure_;
  Result<std::shared_ptr<const CompiledPlan>> plan = find_plan(*communicator, request);
  if (!plan) return plan.status();
  if (free_operations_.empty()) {
    pool_.push_back(std::make_unique<Operation>());
    free_operations_.push_back(pool_.back().get());
  }
  Operation& operation = *free_operations_.back();
  free_operations_.pop_back();
  operation.communicator_ = communicator;
  operation.signature_ = signature_of(request);
  operation.point_to_point_ = request.kind == CallKind::point_to_point;
  operation.sends_ = request.sends;
  operation.peer_ = operation.point_to_point_ ? request.root : -1;
  operation.plan_ = std::move(*plan);
  operation.on_board_ = operation.plan_->plan.board && communicator->board_wanted_;
  operation.published_ = false;
  operation.board_step_ = 0;
  operation.posted_ = now;
  operation.timeout_ = request.timeout;
  operation.deadline_ = deadline_after(now, request.timeout);
  begin_asking(operation, now);
  operation.late_.clear();
  operation.probed_by_.clear();
  operation.failure_ = {};
  operation.result_ = {};
  operation.complete_.store(0, std::memory_order_relaxed);
  if (operation.point_to_point_) {
    auto& numbers = request.sends ? communicator->sends_to_ : communicator->receives_from_;
    operation.number_ = numbers[static_cast<std::size_t>(request.root)]++;
    communicator->points_[Communicator::point_key(request.root, request.sends, operation.number_)] = &operation;
  } else {
    operation.number_ = communicator->next_number_++;
    communicator->history_[operation.number_ % Communicator::kHistory] = operation.signature_;
    communicator->active_.push_back(&operation);
  }
  ++communicator->operations_;
  operation.index_ = operations_.size();
  operations_.push_back(&operation);
  RecordedOperation record;
  record.communicator = communicator->record_;
  record.number = operation.number_;
  record.kind = recorded_kind(request);
  record.type = static_cast<std::uint8_t>(operation.signature_.type);
  record.op = static_cast<std::uint8_t>(operation.signature_.op);
  const bool names_a_rank = operation.point_to_point_ || is_rooted(collective_of(request.kind));
  record.root = names_a_rank ? request.root : -1;
  record.count = request.count;
  record.bytes = request.count * size_of(request.type);
  operation.record_ = recorder_.begin_operation(record, now);
  prepare_job(operation, request);
  keep_input(operation, request);
  if (next_timer_ == kNever) next_timer_ = now;
  if (!communicator->failure_.is_ok()) {  // it ends with what the members are agreeing upon
    operation.state_ = Operation::State::frozen;
    return &operation;
  }
  operation.state_ = Operation::State::connecting;
  if (operation.on_board_) {
    link_board(*communicator, now);
    if (operation.state_ != Operation::State::connecting) return &operation;
    operation.state_ = Operation::State::running;
    communicator->on_board_.push_back(&operation);
    watch_board(*communicator);
    recorder_.start_operation(operation.record_, operation.plan_->algorithm, 1, now);
    run_board(*communicator, now);
    fail_if_orphaned(operation, now);
    return &operation;
  }
  connect_operation(operation, now);
  return &operation;
}

OperationKind Engine::recorded_kind(const OperationRequest& request) {
  if (request.kind == CallKind::point_to_point) return request.sends ? OperationKind::send : OperationKind::receive;
  if (request.kind == CallKind::barrier) return OperationKind::barrier;
  if (request.kind == CallKind::agree) return OperationKind::agree;
  return static_cast<OperationKind>(collective_of(request.kind));
}

void Engine::prepare_job(Operation& operation, const OperationRequest& request) {
  Communicator& communicator = *operation.communicator_;
  const CompiledPlan& plan = *operation.plan_;
  LaneRun::Job& job = operation.job_;
  job = {};
  const std::byte* input = request.input;
  std::byte* output = request.output;
  DataType type = request.type;
  ReduceOp op = request.op;
  if (request.kind == CallKind::barrier) {
    input = &operation.token_[0];
    output = &operation.token_[1];
    type = DataType::uint8;
    op = ReduceOp::max;
  }
  job.element_bytes = size_of(type);
  if (has_type_and_op(request.kind) || request.kind == CallKind::barrier) {
    job.reduction = {type, op};
    job.reduce = find_reduce(type, op);
    if (op == ReduceOp::average) job.divisor = static_cast<std::uint32_t>(communicator.size());
    const bool scales = op == ReduceOp::premultiplied_sum;
    // Alone there is nothing to fold with, and a fold of one operand is a copy; logical results are 1 or 0 all the
    // same.
    const bool alone = communicator.size() == 1 && (op == ReduceOp::logical_and || op == ReduceOp::logical_or);
    if ((scales || alone) && plan.input_bytes > 0) {
      input = changed_copy(input, request.input_table, plan.input_bytes / job.element_bytes, job.element_bytes,
                           operation.scaled_input_, [&](std::byte* to, const std::byte* from, std::uint64_t count) {
                             if (scales) return scale(type, to, from, count, request.scalar);
                             job.reduce(job.reduction, to, std::array{from, from}, count);
                           });
    }
  }
  job.reduction.streaming = plan.streaming;
  job.bases[static_cast<int>(Buffer::input)] = const_cast<std::byte*>(input);  // no step writes to the input
  job.bases[static_cast<int>(Buffer::output)] = output;
  job.recorder = &recorder_;
  job.credited_above = communicator.eager_bytes_;
  job.frame.communicator = communicator.id_;
  job.frame.number = operation.number_;
  job.frame.source = communicator.rank_;
  job.frame.point_to_point = operation.point_to_point_;
  job.frame.signature = operation.signature_;
  constexpr std::uint64_t kLine = 64;
  std::uint64_t scratch = 0;
  for (const CompiledLane& lane : plan.lanes) scratch += (lane.scratch_bytes + kLine - 1) / kLine * kLine;
  if (scratch > 0 && operation.scratch_.size() < scratch + kLine) operation.scratch_.resize(scratch + kLine);
}

void Engine::connect_operation(Operation& operation, Instant now) {
  Communicator& communicator = *operation.communicator_;
  bool all_open = true;
  for (std::size_t l = 0; l < operation.plan_->lanes.size(); ++l) {
    for (const CompiledPeer& peer : operation.plan_->lanes[l].peers) {
      Peer& process = *communicator.members_[static_cast<std::size_t>(peer.rank)].peer;
      // What a process that is gone has sent is here already: the operation may need no more of it
      // (fail_if_orphaned).
      if (process.lost && !process.channels.empty() && process.channels[0]) continue;
      const Result<Channel*> channel = channel_to(process, static_cast<std::uint32_t>(l), now);
      if (!channel) {
        return fail(operation,
                    Status(channel.status().code(),
                           format("{}: {} cannot be reached: {}", title(operation), communicator.describe(peer.rank),
                                  channel.status().text()),
                           peer.rank),
                    now);
      }
      all_open &= (*channel)->open;
    }
  }
  if (all_open) begin_runs(operation, now);
}

void Engine::begin_runs(Operation& operation, Instant now) {
  Communicator& communicator = *operation.communicator_;
  const CompiledPlan& plan = *operation.plan_;
  operation.state_ = Operation::State::running;
  begin_asking(operation, now);
  recorder_.start_operation(operation.record_, plan.algorithm, static_cast<std::uint16_t>(plan.lanes.size()), now);
  constexpr std::uint64_t kLine = 64;
  std::byte* scratch = operation.scratch_.data();
  if (scratch != nullptr) scratch += (kLine - reinterpret_cast<std::uintptr_t>(scratch) % kLine) % kLine;
  for (std::size_t l = 0; l < plan.lanes.size(); ++l) {
    if (operation.runs_.size() <= l) operation.runs_.push_back(std::make_unique<LaneRun>(&operation));
    LaneRun::Job job = operation.job_;
    job.lane = &plan.lanes[l];
    job.bases[static_cast<int>(Buffer::scratch)] = scratch;
    job.frame.lane = static_cast<std::uint8_t>(l);
    operation.runs_[l]->prepare(job);
    scratch += (plan.lanes[l].scratch_bytes + kLine - 1) / kLine * kLine;
    for (std::size_t p = 0; p < plan.lanes[l].peers.size(); ++p) {
      Peer& peer = *communicator.members_[static_cast<std::size_t>(plan.lanes[l].peers[p].rank)].peer;
      const std::uint32_t lane =
          static_cast<std::uint32_t>(l) % std::max(1u, peer.transport->capabilities().lanes_max);
      const std::size_t index = lane < peer.channels.size() && peer.channels[lane] ? lane : 0;
      operation.runs_[l]->set_channel(static_cast<std::uint32_t>(p), peer.channels[index].get());
    }
  }
  for (std::size_t l = 0; l < plan.lanes.size(); ++l) operation.runs_[l]->start(wire_, operation.record_, now);
  deliver_early(operation, now);
  settle(operation, now);
  fail_if_orphaned(operation, now);
}

// An operation that begins after a member has gone can end only if nothing more is needed of it.
void Engine::fail_if_orphaned(Operation& operation, Instant now) {
  Communicator& communicator = *operation.communicator_;
  const bool is_pending = operation.is_under_way() || operation.state_ == Operation::State::committing;
  if (!is_pending || (lost_peers_ == 0 && communicator.gone_ == 0)) return;
  for (Rank rank = 0; rank < communicator.size(); ++rank) {
    const Member& member = communicator.members_[static_cast<std::size_t>(rank)];
    if (!member.gone && !member.peer->lost) continue;
    // An elastic one goes on only with all that had not completed it before they left.
    const bool together = communicator.council_ && !operation.point_to_point_;
    if (together && member.gone && !is_ahead(operation.number_, member.left_after)) continue;
    if (!together && needs_peer(operation, *member.peer, member.gone ? rank : -1) < 0) continue;
    if (!member.gone) return fail(operation, lost(operation, *member.peer, rank), now);
    return miss_departed(operation, departure(communicator, rank).prefixed(title(operation)), now);
  }
}

// A receive from a member that has destroyed its end ends alone: nobody else waits for it.
void Engine::miss_departed(Operation& operation, const Status& why, Instant now) {
  const bool alone = operation.point_to_point_ && !operation.sends_ && !operation.communicator_->council_;
  alone ? let_go(operation, why, now) : fail(operation, why, now);
}

void Engine::deliver_early(Operation& operation, Instant now) {
  Communicator& communicator = *operation.communicator_;
  std::vector<EarlyFrame> frames;
  if (operation.point_to_point_) {
    const auto found = communicator.early_points_.find(
        Communicator::point_key(operation.peer_, operation.sends_, operation.number_));
    if (found == communicator.early_points_.end()) return;
    frames = std::move(found->second);
    communicator.early_points_.erase(found);
  } else {
    const auto found = communicator.early_.find(operation.number_);
    if (found == communicator.early_.end()) return;
    frames = std::move(found->second);
    communicator.early_.erase(found);
  }
  for (const EarlyFrame& early : frames) {
    if (early.arrival != nullptr) {
      to_operation(operation, early.frame, early.arrival, now);
    } else if (operation.state_ == Operation::State::running) {
      to_operation(operation, early.frame, nullptr, now);
    }
  }
}

// Completes the operation if nothing is left to do, or if it has failed and nothing of the caller's is in use.
void Engine::settle(Operation& operation, Instant now) {
  if (operation.state_ != Operation::State::running && operation.state_ != Operation::State::draining) return;
  if (operation.on_board_) return;
  for (std::size_t l = 0; l < operation.plan_->lanes.size(); ++l) {
    const LaneRun& run = *operation.runs_[l];
    if (operation.state_ == Operation::State::draining ? !run.is_quiet() : !run.is_done()) return;
  }
  if (operation.state_ == Operation::State::running) return finish(operation, now);
  if (!operation.communicator_->council_) return complete(operation, operation.failure_, now);
  end_runs(operation, operation.failure_.code());
  operation.state_ = Operation::State::frozen;
  if (operation.communicator_->council_->is_over()) conclude(operation, now);
}

void Engine::end_runs(Operation& operation, Code result) {
  const bool has_runs =
      operation.state_ == Operation::State::running || operation.state_ == Operation::State::draining;
  if (operation.on_board_ || !has_runs) return;
  for (std::size_t l = 0; l < operation.plan_->lanes.size(); ++l) {
    operation.runs_[l]->close_records(result);
    operation.runs_[l]->finish();
  }
}

void Engine::complete(Operation& operation, const Status& result, Instant now) {
  Communicator& communicator = *operation.communicator_;
  end_runs(operation, result.code());
  forget_reported(operation, result.is_ok(), now);
  recorder_.end_operation(operation.record_, result.code(), result.culprit(), now);
  if (operation.point_to_point_) {
    communicator.points_.erase(Communicator::point_key(operation.peer_, operation.sends_, operation.number_));
  } else {
    communicator.active_[operation.number_ - communicator.first_number_] = nullptr;
    while (!communicator.active_.empty() && communicator.active_.front() == nullptr) {
      communicator.active_.pop_front();
      ++communicator.first_number_;
    }
    if (communicator.council_ && communicator.council_->stage == Council::Stage::working)
      communicator.council_->completed = communicator.first_number_ - 1;
  }
  --communicator.operations_;
  operations_[operation.index_] = operations_.back();
  operations_[operation.index_]->index_ = operation.index_;
  operations_.pop_back();
  operation.state_ = Operation::State::complete;
  operation.result_ = result;
  if (operation.scratch_.size() > kScratchKept) std::vector<std::byte>().swap(operation.scratch_);
  if (operation.scaled_input_.size() > kScratchKept) std::vector<std::byte>().swap(operation.scaled_input_);
  operation.kept_.end();
  ++completed_;
  operation.complete_.store(1, std::memory_order_release);
}

void Engine::release(Operation* operation) {
  operation->plan_.reset();
  operation->failure_ = {};
  operation->result_ = {};
  free_operations_.push_back(operation);
}

Result<std::string> Engine::explain(Communicator* communicator, const OperationRequest& request) {
  Result<std::shared_ptr<const CompiledPlan>> plan = find_plan(*communicator, request);
  if (!plan) return plan.status();
  return (*plan)->plan.why;
}

}  // namespace tutti
