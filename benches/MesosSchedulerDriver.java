package org.apache.mesos;

import java.util.Collection;
import java.util.concurrent.CountDownLatch;
import org.apache.mesos.Protos.*;

/**
 * Stands in for the class that loads libmesos, so that Spark's MesosClusterDispatcher comes up without it:
 * says at once that the framework is registered, and is silent from then on. What libmesos itself takes of
 * time and memory is not in what is measured with it.
 */
public class MesosSchedulerDriver implements SchedulerDriver {
  private final Scheduler scheduler;
  private final CountDownLatch over = new CountDownLatch(1);

  public MesosSchedulerDriver(Scheduler scheduler, FrameworkInfo framework, String master) {
    this.scheduler = scheduler;
  }

  public MesosSchedulerDriver(
      Scheduler scheduler, FrameworkInfo framework, String master, Credential credential) {
    this.scheduler = scheduler;
  }

  private static Status running() {
    return Status.DRIVER_RUNNING;
  }

  public Status start() {
    MasterInfo master = MasterInfo.newBuilder().setId("m").setIp(0).setPort(5050).build();
    scheduler.registered(this, FrameworkID.newBuilder().setValue("f").build(), master);
    return running();
  }

  public Status join() {
    try {
      over.await();
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
    }
    return Status.DRIVER_STOPPED;
  }

  public Status run() {
    start();
    return join();
  }

  public Status stop(boolean failover) {
    over.countDown();
    return Status.DRIVER_STOPPED;
  }

  public Status stop() {
    return stop(false);
  }

  public Status abort() {
    return stop(false);
  }

  public Status requestResources(Collection<Request> requests) {
    return running();
  }

  public Status launchTasks(Collection<OfferID> offers, Collection<TaskInfo> tasks, Filters filters) {
    return running();
  }

  public Status launchTasks(Collection<OfferID> offers, Collection<TaskInfo> tasks) {
    return running();
  }

  public Status launchTasks(OfferID offer, Collection<TaskInfo> tasks, Filters filters) {
    return running();
  }

  public Status launchTasks(OfferID offer, Collection<TaskInfo> tasks) {
    return running();
  }

  public Status killTask(TaskID task) {
    return running();
  }

  public Status acceptOffers(
      Collection<OfferID> offers, Collection<Offer.Operation> operations, Filters filters) {
    return running();
  }

  public Status declineOffer(OfferID offer, Filters filters) {
    return running();
  }

  public Status declineOffer(OfferID offer) {
    return running();
  }

  public Status reviveOffers() {
    return running();
  }

  public Status suppressOffers() {
    return running();
  }

  public Status acknowledgeStatusUpdate(TaskStatus status) {
    return running();
  }

  public Status sendFrameworkMessage(ExecutorID executor, SlaveID agent, byte[] data) {
    return running();
  }

  public Status reconcileTasks(Collection<TaskStatus> statuses) {
    return running();
  }
}
