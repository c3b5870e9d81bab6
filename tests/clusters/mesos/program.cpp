// Starts parts of Apache Mesos 1.11.0 straight out of the native library that the
// PyPI package mesos.scheduler 1.11.0 carries (_scheduler.so, a static build of all
// of libmesos with every symbol exported).  One multi-call program; the name it is
// called by decides: mesos-master, mesos-agent, mesos-containerizer, mesos-docker-run.
//
// Nothing here is Mesos code: only names and the smallest descriptions of the types
// that cross the boundary, each with more room than the real object takes.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cstdint>
#include <string>
#include <vector>
#include <map>
#include <new>
#include <memory>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/syscall.h>

template <class T> struct Option {           // stout's: an int (0 is "some"), then the value
  int state;
  union { T t; };
  Option() : state(1) {}
  Option(const T& v) : state(0), t(v) {}
  ~Option() {}                               // leaks on purpose; it only lives in main()
};
struct Error { std::string message; };
template <class T> struct Try {              // stout's: Option<T>, then Option<Error>
  Option<T> data;
  Option<Error> error;
  ~Try() {}
  T& get(const char* what) {
    if (data.state != 0) {
      fprintf(stderr, "%s: %s\n", what, error.state == 0 ? error.t.message.c_str() : "error");
      exit(1);
    }
    return data.t;
  }
};
struct Duration { int64_t nanos; };
struct Nothing {};
template <size_t N> struct Room { alignas(16) char bytes[N]; };

namespace flags {
struct FlagsBase { virtual ~FlagsBase(); long some_data; };  // only for the offset of the virtual base
}
namespace process {
struct ProcessBase;
struct UPID { UPID(const ProcessBase&); UPID(const UPID&); ~UPID() {} Room<1024> room; };
template <class T> struct Future { void* data[2]; ~Future() {} bool await(const Duration&) const; };
bool initialize(const Option<std::string>&, const Option<std::string>&, const Option<std::string>&);
UPID spawn(ProcessBase*, bool);
bool wait(const UPID&, const Duration&);
namespace ID { std::string generate(const std::string&); }
template <class T> struct Owned { void* data[2] = {nullptr, nullptr}; };
struct RateLimiter;
namespace network { namespace unix_ {} }
}
namespace zookeeper { struct Authentication { Room<256> room; Authentication(const Authentication&) = default; }; }
namespace mesos {
struct ACLs; struct Authorizer { static Try<Authorizer*> create(const ACLs&); };
struct SecretGenerator; struct SecretResolver;
struct MasterInfo { MasterInfo(const MasterInfo&); ~MasterInfo() {} Room<1024> room; };
namespace allocator { struct Allocator; }
namespace log {
struct Log {
  Log(int, const std::string&, const std::string&, const Duration&, const std::string&,
      const Option<zookeeper::Authentication>&, bool, const Option<std::string>&);
  Room<4096> room;
};
}
namespace state {
struct State;
struct LogStorage { LogStorage(log::Log*, size_t); Room<1024> room; };
struct InMemoryStorage { InMemoryStorage(); Room<1024> room; };
}
namespace slave {
struct ResourceEstimator { static Try<ResourceEstimator*> create(const Option<std::string>&); };
struct QoSController { static Try<QoSController*> create(const Option<std::string>&); };
}
namespace master {
namespace contender {
struct MasterContender {
  static Try<MasterContender*> create(const Option<std::string>&, const Option<std::string>&, const Option<Duration>&);
  virtual ~MasterContender();
  virtual void initialize(const MasterInfo&) = 0;
  virtual process::Future<process::Future<Nothing>> contend() = 0;
};
}
namespace detector {
struct MasterDetector {
  static Try<MasterDetector*> create(const Option<std::string>&, const Option<std::string>&, const Option<Duration>&);
};
struct StandaloneMasterDetector { void appoint(const Option<MasterInfo>&); };
}
}
namespace internal {
struct VersionProcess { VersionProcess(); Room<4096> room; };
struct Files { Files(const Option<std::string>&, const Option<Authorizer*>&); Room<1024> room; };
struct PendingFutureTracker;
namespace logging {
struct Flags { Flags(); Flags(const Flags&) = delete; Room<8192> room; };
void initialize(const std::string&, bool, const Option<Flags>&);
}
namespace master {
struct Flags { Flags(); Room<65536> room; };
struct Registrar { Registrar(const Flags&, state::State*, const Option<std::string>&); Room<4096> room; };
struct Master {
  Master(allocator::Allocator*, Registrar*, Files*, mesos::master::contender::MasterContender*,
         mesos::master::detector::MasterDetector*, const Option<Authorizer*>&,
         const Option<std::shared_ptr<process::RateLimiter>>&, const Flags&);
  Room<1 << 20> room;
};
namespace allocator {
struct DRFSorter;
template <class A, class B> struct HierarchicalAllocatorProcess;
template <class P> struct MesosAllocator { MesosAllocator(); Room<1024> room; };
typedef MesosAllocator<HierarchicalAllocatorProcess<DRFSorter, DRFSorter>> HierarchicalDRFAllocator;
extern template struct MesosAllocator<HierarchicalAllocatorProcess<DRFSorter, DRFSorter>>;
}
}
namespace slave {
struct Flags { Flags(); Room<65536> room; };
struct VolumeGidManager; struct CSIServer;
struct Fetcher { Fetcher(const Flags&); Room<4096> room; };
struct GarbageCollector { GarbageCollector(const std::string&); Room<4096> room; };
struct TaskStatusUpdateManager { TaskStatusUpdateManager(const Flags&); Room<4096> room; };
struct Containerizer {
  static Try<Containerizer*> create(const Flags&, bool, Fetcher*, GarbageCollector*, SecretResolver*,
                                    VolumeGidManager*, PendingFutureTracker*, CSIServer*);
};
}
}
}

// Entry points named by symbol: where spelling the real type would only cost lines.
void flags_load(Try<std::vector<void*>>* ret, flags::FlagsBase*, const Option<std::string>& prefix, int argc,
                const char* const* argv, bool unknowns, bool duplicates)
  asm("_ZN5flags9FlagsBase4loadERK6OptionINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEEiPKPKcbb");
void secret_resolver_create(Try<mesos::SecretResolver*>* ret, const Option<std::string>&)
  asm("_ZN5mesos14SecretResolver6createERK6OptionINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEE");
extern char state_vtable[] asm("_ZTVN5mesos5state8protobuf5StateE");
extern char acls_vtable[] asm("_ZTVN5mesos4ACLsE");
extern char launch_vtable[] asm("_ZTVN5mesos8internal5slave24MesosContainerizerLaunchE");
void launch_flags_ctor(void*) asm("_ZN5mesos8internal5slave24MesosContainerizerLaunch5FlagsC1Ev");
flags::FlagsBase* launch_flags(void*) asm("_ZN5mesos8internal5slave24MesosContainerizerLaunch8getFlagsEv");
void cni_setup_ctor(void*) asm("_ZN5mesos8internal5slave23NetworkCniIsolatorSetupC1Ev");
flags::FlagsBase* cni_setup_flags(void*) asm("_ZN5mesos8internal5slave23NetworkCniIsolatorSetup8getFlagsEv");
int cni_setup_execute(void*) asm("_ZN5mesos8internal5slave23NetworkCniIsolatorSetup7executeEv");
extern const char* cni_setup_name asm("_ZN5mesos8internal5slave23NetworkCniIsolatorSetup4NAMEE");
void container_ctor(void*) asm("_ZN5mesos13ContainerInfoC1Ev");
void command_ctor(void*) asm("_ZN5mesos11CommandInfoC1Ev");
void from_json(void* status, const std::string&, void* message, const bool* ignores_unknown_fields)
  asm("_ZN6google8protobuf4util19JsonStringToMessageERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEPNS0_7MessageERKNS1_16JsonParseOptionsE");
void resources_parse(void* ret, const std::string& text, const std::string& role)
  asm("_ZN5mesos9Resources5parseERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEES8_");
void docker_create(void* ret, const std::string& path, const std::string& socket, bool validate, const Option<void*>& config)
  asm("_ZN6Docker6createERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEES7_bRK6OptionIN4JSON6ObjectEE");
void docker_run(void* ret, void* docker, void* options, void* out, void* err)
  asm("_ZNK6Docker3runERKNS_10RunOptionsERKN7process10Subprocess2IOES7_");
Option<int>* docker_exit(void* future) asm("_ZNK7process6FutureI6OptionIiEE3getEv");
void subprocess_fd(void* ret, int fd, int kind) asm("_ZN7process10Subprocess2FDEiNS0_2IO6FDTypeE");
void run_options(void* ret, void* container, void* command, const std::string& name, const std::string& sandbox,
                 const std::string& mapped, void* resources, bool quota, const Option<std::map<std::string, std::string>>&,
                 const Option<void*>& devices, const Option<void*>& dns, const Option<void*>& limits)
  asm(RUN_OPTIONS);
int launch_execute(void*) asm("_ZN5mesos8internal5slave24MesosContainerizerLaunch7executeEv");
void slave_ctor(void* self, const std::string&, const mesos::internal::slave::Flags&, void* detector, void* containerizer,
                void* files, void* gc, void* updates, void* estimator, void* qos, void* secrets, void* gids,
                void* futures, process::Owned<mesos::internal::slave::CSIServer>&& csi, const Option<void*>& socket,
                const Option<void*>& authorizer)
  asm(AGENT_CONSTRUCTOR);

namespace {
// The shapes of the two virtual inheritances, to let the compiler find the base.
struct L : virtual flags::FlagsBase { long some_data; };
struct F : virtual L { long some_data; };
flags::FlagsBase* base_of_flags(void* f) { return reinterpret_cast<F*>(f); }
flags::FlagsBase* base_of_logging(void* f) { return reinterpret_cast<L*>(f); }
process::ProcessBase* as_process(void* p) {   // one virtual base: its offset is the first before the vtable
  return reinterpret_cast<process::ProcessBase*>((char*)p + *(long*)(*(char**)p - 24));
}
template <class T> T* room() { return (T*)calloc(1, sizeof(T)); }

int g_argc; char** g_argv;
const char* flag(const char* name, const char* dflt = nullptr) {   // a flag's text: command line, then environment
  std::string dash = std::string("--") + name + "=";
  for (int i = 1; i < g_argc; i++)
    if (!strncmp(g_argv[i], dash.c_str(), dash.size())) return g_argv[i] + dash.size();
  std::string env = "MESOS_";
  for (const char* c = name; *c; c++) env += toupper(*c);
  const char* v = getenv(env.c_str());
  return v ? v : dflt;
}
// Where the loaded flags hold an Option<ACLs> (they do once --acls was given): its virtual table tells.
Option<mesos::Authorizer*> authorizer(void* flags, size_t size) {
  if (flag("acls"))
    for (char* p = (char*)flags + 8; p + 8 <= (char*)flags + size; p += 8)
      if (*(char**)p == acls_vtable + 16)
        return Option<mesos::Authorizer*>(mesos::Authorizer::create(*(mesos::ACLs*)p).get("acls"));
  return Option<mesos::Authorizer*>();
}
Option<std::string> opt(const char* v) { if (v) return Option<std::string>(std::string(v)); return Option<std::string>(); }
int64_t secs(const char* v) {                  // "10secs", "500ms", "2mins"
  char* e; double d = strtod(v, &e);
  if (!strncmp(e, "ms", 2)) return d * 1e6;
  if (!strncmp(e, "min", 3)) return d * 6e10;
  return d * 1e9;
}
void load(flags::FlagsBase* base, const char* prefix, int argc, char** argv, bool unknowns) {
  auto* r = room<Try<std::vector<void*>>>();
  flags_load(r, base, Option<std::string>(std::string(prefix)), argc, argv, unknowns, false);
  r->get("flags");
}
void start_logging(bool handler) {
  auto* o = (char*)calloc(1, 1 << 14);         // Option<logging::Flags>: state 0, then the flags
  new (o + 8) mesos::internal::logging::Flags();
  load(base_of_logging(o + 8), "MESOS_", g_argc, g_argv, true);
  mesos::internal::logging::initialize(g_argv[0], handler, *(Option<mesos::internal::logging::Flags>*)o);
}
void set_address(const char* port) {
  if (const char* ip = flag("ip")) setenv("LIBPROCESS_IP", ip, 1);
  setenv("LIBPROCESS_PORT", flag("port", port), 1);
  if (const char* a = flag("advertise_ip")) setenv("LIBPROCESS_ADVERTISE_IP", a, 1);
  if (const char* a = flag("advertise_port")) setenv("LIBPROCESS_ADVERTISE_PORT", a, 1);
}
void version_endpoint() { process::spawn(as_process(new (room<mesos::internal::VersionProcess>()) mesos::internal::VersionProcess()), false); }
void run(void* p) {
  process::UPID pid(*as_process(p));
  process::spawn(as_process(p), false);
  process::wait(pid, Duration{-1000000000});
}

// Without ZooKeeper a master stands alone: it is appointed as soon as it says who it is.
struct Alone : mesos::master::contender::MasterContender {
  mesos::master::contender::MasterContender* real;
  mesos::master::detector::StandaloneMasterDetector* detector;
  void initialize(const mesos::MasterInfo& info) override {
    auto* o = (char*)calloc(1, 2048);
    new (o + 8) mesos::MasterInfo(info);
    detector->appoint(*(Option<mesos::MasterInfo>*)o);
    real->initialize(info);
  }
  process::Future<process::Future<Nothing>> contend() override { return real->contend(); }
};

int master_main() {
  using namespace mesos::internal;
  using namespace mesos::internal::master;
  auto* flags = new (room<Flags>()) Flags();
  load(base_of_flags(flags), "MESOS_", g_argc, g_argv, false);
  start_logging(true);
  set_address("5050");
  const char* ro = "mesos-master-readonly"; const char* rw = "mesos-master-readwrite";
  process::initialize(opt("master"), opt(rw), opt(ro));
  version_endpoint();
  auto* alloc = new (room<allocator::HierarchicalDRFAllocator>()) allocator::HierarchicalDRFAllocator();
  Option<std::string> zk = opt(flag("zk"));
  Option<Duration> timeout(Duration{secs(flag("zk_session_timeout", "10secs"))});
  std::string registry = flag("registry", "replicated_log");
  void* storage;
  if (registry == "in_memory") storage = new (room<mesos::state::InMemoryStorage>()) mesos::state::InMemoryStorage();
  else {
    std::string work = flag("work_dir", "");
    if (work.empty()) { fprintf(stderr, "--work_dir is needed\n"); return 1; }
    mkdir(work.c_str(), 0755);
    mesos::log::Log* log = room<mesos::log::Log>();
    Option<std::string> metrics = opt("registrar/");
    if (zk.state == 0) {                        // zk://host:port,host:port/path
      std::string u = zk.t.substr(5); size_t slash = u.find('/');
      new (log) mesos::log::Log(atoi(flag("quorum", "1")), work + "/replicated_log", u.substr(0, slash), timeout.t,
                                (slash == std::string::npos ? "" : u.substr(slash)) + "/log_replicas",
                                Option<zookeeper::Authentication>(), true, metrics);
    } else {                                    // no peers: an empty set of addresses
      void log_ctor(void*, int, const std::string&, const void*, bool, const Option<std::string>&) asm(LOG_CONSTRUCTOR);
      struct { int color; void* p; void* l; void* r; size_t n; } none = {0, 0, 0, 0, 0};
      struct { void* cmp; decltype(none) head; } peers = {0, none};
      peers.head.l = peers.head.r = &peers.head;
      log_ctor(log, 1, work + "/replicated_log", &peers, true, metrics);
    }
    storage = new (room<mesos::state::LogStorage>()) mesos::state::LogStorage(log, 0);
  }
  void** state = (void**)calloc(2, sizeof(void*));
  state[0] = state_vtable + 16; state[1] = storage;
  auto* registrar = new (room<Registrar>()) Registrar(*flags, (mesos::state::State*)state, opt(ro));
  auto* contender = mesos::master::contender::MasterContender::create(zk, Option<std::string>(), timeout).get("contender");
  auto* detector = mesos::master::detector::MasterDetector::create(zk, Option<std::string>(), timeout).get("detector");
  if (zk.state != 0) {
    auto* alone = new Alone();
    alone->real = contender; alone->detector = (mesos::master::detector::StandaloneMasterDetector*)detector;
    contender = alone;
  }
  Option<mesos::Authorizer*> auth = authorizer(flags, sizeof(*flags));
  auto* files = new (room<Files>()) Files(opt(ro), auth);
  auto* m = new (room<Master>()) Master((mesos::allocator::Allocator*)alloc, registrar, files, contender, detector,
      auth, Option<std::shared_ptr<process::RateLimiter>>(), *flags);
  run(m);
  return 0;
}

int agent_main() {
  using namespace mesos::internal;
  using namespace mesos::internal::slave;
  auto* flags = new (room<Flags>()) Flags();
  load(base_of_flags(flags), "MESOS_", g_argc, g_argv, false);
  start_logging(true);
  set_address("5051");
  std::string id = process::ID::generate("slave");
  const char* ro = "mesos-agent-readonly";
  process::initialize(Option<std::string>(id), opt("mesos-agent-readwrite"), opt(ro));
  version_endpoint();
  auto* fetcher = new (room<Fetcher>()) Fetcher(*flags);
  auto* gc = new (room<GarbageCollector>()) GarbageCollector(flag("work_dir", ""));
  auto* sr = room<Try<mesos::SecretResolver*>>();
  secret_resolver_create(sr, Option<std::string>());
  auto* containerizer = Containerizer::create(*flags, false, fetcher, gc, sr->get("secrets"), nullptr, nullptr, nullptr).get("containerizer");
  Option<Duration> timeout(Duration{secs(flag("zk_session_timeout", "10secs"))});
  auto* detector = mesos::master::detector::MasterDetector::create(opt(flag("master")), Option<std::string>(), timeout).get("detector");
  Option<mesos::Authorizer*> auth = authorizer(flags, sizeof(*flags));
  auto* files = new (room<Files>()) Files(opt(ro), auth);
  auto* updates = new (room<TaskStatusUpdateManager>()) TaskStatusUpdateManager(*flags);
  auto* estimator = mesos::slave::ResourceEstimator::create(Option<std::string>()).get("estimator");
  auto* qos = mesos::slave::QoSController::create(Option<std::string>()).get("qos");
  void* s = calloc(1, 1 << 20);
  slave_ctor(s, id, *flags, detector, containerizer, files, gc, updates, estimator, qos, nullptr, nullptr, nullptr,
             process::Owned<CSIServer>(), Option<void*>(), *(Option<void*>*)&auth);
  run(s);
  return 0;
}

int containerizer_main() {
  if (g_argc > 1 && !strcmp(g_argv[1], cni_setup_name)) {
    auto* setup = room<Room<1 << 16>>();
    cni_setup_ctor(setup);
    load(cni_setup_flags(setup), "MESOS_CONTAINERIZER_", g_argc - 1, g_argv + 1, true);
    return cni_setup_execute(setup);
  }
  if (g_argc < 2 || strcmp(g_argv[1], "launch")) { fprintf(stderr, "only launch and %s are supported\n", cni_setup_name); return 1; }
  const int at = 0xE0;      // in this build: vptr, name, the base's own flags; then the launch flags
  char* o = (char*)calloc(1, 1 << 16);
  *(void**)o = launch_vtable + 16;
  new (o + 8) std::string("launch");
  launch_flags_ctor(o + at);
  load(launch_flags(o), "MESOS_CONTAINERIZER_", g_argc - 1, g_argv + 1, true);
  return launch_execute(o);
}

// The value of a Try whose size is not known, in memory that was empty: its error is the first that is written after.
char* value_of(void* tried, const char* what) {
  auto* words = (char**)tried;
  if (*(int*)tried == 0) return (char*)(words + 1);
  for (words++; !*words; words++) {}
  fprintf(stderr, "%s: %s\n", what, *words);
  exit(1);
}
void read_json(void* message, const char* what) {
  std::string text;
  int c;
  while ((c = getchar()) != EOF && c != '\n') text += (char)c;
  auto* status = room<Room<256>>();
  const bool options[16] = {true};
  from_json(status, text, message, options);
  if (*(int*)status) { fprintf(stderr, "%s: it is not understood\n", what); exit(1); }
}
// Runs a container as Mesos' executor for Docker does: mesos-docker-run DOCKER SOCKET NAME SANDBOX MAPPED RESOURCES
// QUOTA, with the ContainerInfo and the CommandInfo as lines of JSON on standard input.
int docker_run_main() {
  if (g_argc != 8) { fprintf(stderr, "mesos-docker-run: seven arguments are needed\n"); return 1; }
  setenv("LIBPROCESS_IP", "127.0.0.1", 1);
  const char* ro = "readonly";
  process::initialize(opt("docker-run"), opt("readwrite"), opt(ro));
  void *container = room<Room<4096>>(), *command = room<Room<4096>>();
  container_ctor(container);
  command_ctor(command);
  read_json(container, "container");
  read_json(command, "command");
  auto made = [](const char* what, auto make) { void* r = room<Room<1 << 14>>(); make(r); value_of(r, what); return r; };
  Option<void*> none;
  void* resources = made("resources", [&](void* r) { resources_parse(r, g_argv[6], "*"); });
  void* docker = made("docker", [&](void* r) { docker_create(r, g_argv[1], g_argv[2], false, none); });
  void* options = made("options of docker run", [&](void* r) {
    run_options(r, container, command, g_argv[3], g_argv[4], g_argv[5], resources, !strcmp(g_argv[7], "true"),
                Option<std::map<std::string, std::string>>(), none, none, none);
  });
  void *out = room<Room<256>>(), *err = room<Room<256>>(), *future = room<Room<64>>();
  subprocess_fd(out, 1, 0);
  subprocess_fd(err, 2, 0);
  // An Owned has a pointer to where the pointer is.
  docker_run(future, **(void***)value_of(docker, "docker"), value_of(options, "options"), out, err);
  Option<int>* status = docker_exit(future);
  if (status->state) { fprintf(stderr, "docker run: its end is not known\n"); return 1; }
  fflush(stdout);
  // Nobody ends the threads of the library.
  _exit(WIFEXITED(status->t) ? WEXITSTATUS(status->t) : 128 + WTERMSIG(status->t));
}
}

// A kernel without SysRq has no file by which it is asked: what hides that file in containers has nothing to do.
// These come before the C library's own.
static bool is_absent(const char* path) {
  const char* name = "/proc/sysrq-trigger";
  size_t length = path ? strlen(path) : 0;
  return length >= strlen(name) && !strcmp(path + length - strlen(name), name) && access(name, F_OK);
}
extern "C" int mkdir(const char* path, mode_t mode) noexcept { return is_absent(path) ? 0 : syscall(SYS_mkdir, path, mode); }
extern "C" int mount(const char* source, const char* target, const char* type, unsigned long flags, const void* data) noexcept {
  return is_absent(target) ? 0 : syscall(SYS_mount, source, target, type, flags, data);
}

int main(int argc, char** argv) {
  g_argc = argc; g_argv = argv;
  const char* me = strrchr(argv[0], '/'); me = me ? me + 1 : argv[0];
  if (!strcmp(me, "mesos-master")) return master_main();
  if (!strcmp(me, "mesos-agent")) return agent_main();
  if (!strcmp(me, "mesos-containerizer")) return containerizer_main();
  if (!strcmp(me, "mesos-docker-run")) return docker_run_main();
  fprintf(stderr, "call me mesos-master, mesos-agent, mesos-containerizer or mesos-docker-run\n");
  return 2;
}
